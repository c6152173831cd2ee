import { hasEnded, processStat } from '#runtime/process-stat.ts'
import type { ClientProcess } from './client-session.ts'

/**
 * Whether a process still runs, and is no later one with its number. One that the sandbox of a unit hides from us is asked by a signal
 * that does nothing (kill(2)): it counts as running while its number is in use.
 */
export function isRunning({ pid, startTicks }: ClientProcess): boolean {
  const stat = processStat(pid)
  return stat === null ? isNumberInUse(pid) : stat.startedAt === startTicks && !hasEnded(stat)
}

function isNumberInUse(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
