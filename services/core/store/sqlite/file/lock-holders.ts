import { readFileSync } from 'node:fs'
import type { FileIdentity } from './database-path.ts'

/**
 * The other processes that hold locks on a file, as far as the kernel shows them, proc_locks(5): each process holds one for
 * as long as it has a database in WAL mode open. Null where that cannot be seen.
 */
export function holdersOf({ inode }: FileIdentity): string[] | null {
  let lines: string[]
  try {
    lines = readFileSync('/proc/locks', 'utf8').split('\n')
  } catch {
    return null
  }
  const pids = lines.flatMap((line) => {
    const [, , , , pid, file] = line.trim().split(/\s+/)
    return file?.endsWith(`:${inode}`) === true && Number(pid) !== process.pid ? [Number(pid)] : []
  })
  return [...new Set(pids)].map((pid) => `${nameOf(pid)} (pid ${pid})`)
}

function nameOf(pid: number): string {
  try {
    const [first = ''] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return first.split(' ')[0]?.split('/').at(-1) || 'a process'
  } catch {
    return 'a process'
  }
}
