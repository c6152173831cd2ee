import { readFileSync } from 'node:fs'
import { uptime } from 'node:os'

/** Fields of a process's `stat`, proc(5). */
export interface ProcessStat {
  /** One letter: T is stopped, Z is a zombie. */
  readonly state: string
  readonly parent: number
  /** The process group; its leader has this number. */
  readonly group: number
  /** The session; its leader has this number. */
  readonly session: number
  /** Processor time of it and of those children that it has waited for: hundredths of a second on every Linux machine. */
  readonly ticks: number
  /** Ticks since the machine started: with the pid it identifies a process, also when pids are reused. */
  readonly startedAt: string
  /** As in wait(2); 0 also without the right to inspect the process. */
  readonly exitStatus: number
}

/**
 * What /proc says of a process; null where there is none of this number, or it is hidden from us. A zombie has one too. Read at
 * once and not by a thread: it is no file on a disk, and five hundred of them through threads cost three times as much.
 */
export function processStat(pid: number, procFolder = '/proc'): ProcessStat | null {
  try {
    return readStat(readFileSync(`${procFolder}/${pid}/stat`, 'latin1'))
  } catch {
    return null
  }
}

/** Processes that are looked at on the way up: a client starts its commands by a wrapper or two, and no tree of people is deeper. */
const ANCESTORS_MAX = 64

/** A process and its parents, the nearest first, as far as they are seen from here: a container's first process may be a client. */
export function* ancestors(
  pid: number,
  procFolder = '/proc',
): Generator<{ readonly pid: number; readonly startTicks: string }> {
  let at = pid
  for (let count = 0; at > 0 && count < ANCESTORS_MAX; count += 1) {
    const stat = processStat(at, procFolder)
    if (stat === null) return
    yield { pid: at, startTicks: stat.startedAt }
    at = stat.parent
  }
}

/** Whether a process has ended, and only its parent has not asked how. */
export function hasEnded({ state }: Pick<ProcessStat, 'state'>): boolean {
  return state === 'Z' || state === 'X'
}

/** When a living process began; null for one that has ended. With the pid it is one process and no later one. */
export function processStart(pid: number): string | null {
  const stat = processStat(pid)
  return stat === null || hasEnded(stat) ? null : stat.startedAt
}

/** How long this machine runs, in the ticks that the starts of processes are told in. */
export function ticksSinceStart(): number {
  return Math.floor(uptime() * 100)
}

/** Parses `stat`. The command's name in parentheses may hold anything, so fields are counted from its end, from the third. */
export function readStat(stat: string): ProcessStat {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return {
    state: fields[0] ?? '',
    parent: Number(fields[1]),
    group: Number(fields[2]),
    session: Number(fields[3]),
    ticks: Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14]),
    startedAt: fields[19] ?? '',
    exitStatus: Number(fields[49]),
  }
}
