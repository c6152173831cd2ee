import { readlinkSync } from 'node:fs'
import { hasEnded, processStat } from './process-stat.ts'

/** A process that cannot be taken for a later one with the same number: proc_pid_stat(5), field 22. */
export interface KnownProcess {
  readonly pid: number
  readonly startTicks: string
}

/** A process as one of a pid namespace: the number of another one names another process here. */
export interface NamespacedProcess extends KnownProcess {
  /** As `pidNamespace` names it. */
  readonly namespace: string
}

/** Reads such a process from JSON that anybody may have written; null for anything else. */
export function readNamespacedProcess(value: unknown): NamespacedProcess | null {
  const { pid, startTicks, namespace } = (value ?? {}) as Readonly<Record<string, unknown>>
  const isNumber = Number.isSafeInteger(pid) && (pid as number) > 0
  const isStart = typeof startTicks === 'string' && /^\d{1,20}$/.test(startTicks)
  if (!isNumber || !isStart || typeof namespace !== 'string') return null
  return { pid: pid as number, startTicks, namespace }
}

/** Whether a process lives; null where its namespace is not ours, so that nothing can be seen of it. */
export function isRunningHere(process: NamespacedProcess): boolean | null {
  return process.namespace === pidNamespace() ? isRunning(process) : null
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
