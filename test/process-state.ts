import { readFileSync } from 'node:fs'

/** The letter that proc(5) has for it, such as T for one that is stopped; null when there is no such process. */
export function stateOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.charAt(stat.lastIndexOf(')') + 2)
  } catch {
    return null
  }
}

/** Gone, or waiting for whoever adopts it to notice. */
export function isOver(pid: number): boolean {
  return [null, 'Z'].includes(stateOf(pid))
}
