import { processStat } from '#runtime/process-stat.ts'

/** The state letter of a process, proc(5), such as T for stopped; null when there is no such process. */
export function stateOf(pid: number): string | null {
  return processStat(pid)?.state ?? null
}

/** Whether a process is gone, or a zombie that its new parent has not reaped yet. */
export function isOver(pid: number): boolean {
  return [null, 'Z'].includes(stateOf(pid))
}
