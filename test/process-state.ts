import { readFileSync } from 'node:fs'
import { readStat } from '#runtime/process-stat.ts'

/** The letter that proc(5) has for it, such as T for one that is stopped; null when there is no such process. */
export function stateOf(pid: number): string | null {
  try {
    return readStat(readFileSync(`/proc/${pid}/stat`, 'latin1')).state
  } catch {
    return null
  }
}

/** Gone, or waiting for whoever adopts it to notice. */
export function isOver(pid: number): boolean {
  return [null, 'Z'].includes(stateOf(pid))
}
