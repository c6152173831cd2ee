import { readlinkSync } from 'node:fs'
import { hasEnded, processStat } from './process-stat.ts'

/** A process that cannot be taken for a later one with the same number: proc_pid_stat(5), field 22. */
export interface KnownProcess {
  readonly pid: number
  readonly startTicks: string
}

/**
 * Whether a process still runs, and is no later one with its number. One that the sandbox of a unit hides from us is asked by a signal
 * that does nothing (kill(2)): it counts as running while its number is in use.
 */
export function isRunning({ pid, startTicks }: KnownProcess): boolean {
  const stat = processStat(pid)
  return stat === null ? isNumberInUse(pid) : stat.startedAt === startTicks && !hasEnded(stat)
}

/** The namespace that process ids of this process count in (pid_namespaces(7)); empty where the system does not say. */
export function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return ''
  }
}

function isNumberInUse(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
