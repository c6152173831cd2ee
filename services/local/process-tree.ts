import { readdirSync, readFileSync } from 'node:fs'
import type { Clock } from '#runtime/clock.ts'
import { hasEnded, type ProcessStat, processStat } from '#runtime/process-stat.ts'

/**
 * The variable that names, in the environment of every process of a local fleet, the state folder of its agent. Children
 * inherit it, so that processes are found however deep, detached or orphaned they are, and never by name.
 */
export const MARK = 'FLEET_MEMBER'

/** A process, from proc(5). */
export interface ProcessEntry extends Pick<ProcessStat, 'state' | 'parent' | 'startedAt'> {
  readonly pid: number
  readonly mark: string | null
}

/** All processes of this machine that this user may inspect. */
export function processes(): ProcessEntry[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const found = readProcess(Number(name))
      return found === null ? [] : [found]
    })
}

function readProcess(pid: number): ProcessEntry | null {
  const stat = processStat(pid)
  if (stat === null) return null // it has ended meanwhile
  const { state, parent, startedAt } = stat
  return { pid, state, parent, startedAt, mark: readMark(pid) }
}

function readMark(pid: number): string | null {
  try {
    const entries = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
    return entries.find((entry) => entry.startsWith(`${MARK}=`))?.slice(MARK.length + 1) ?? null
  } catch {
    return null // it is another user's, or has ended
  }
}

/** The processes with a wanted mark, and all their descendants. Zombies are left out. */
export function descendantsOf(all: readonly ProcessEntry[], wanted: (mark: string) => boolean): ProcessEntry[] {
  const family = new Set(all.filter(({ mark }) => mark !== null && wanted(mark)).map(({ pid }) => pid))
  for (let before = -1; before !== family.size; ) {
    before = family.size
    for (const { pid, parent } of all) if (family.has(parent)) family.add(pid)
  }
  family.delete(process.pid)
  return all.filter((each) => family.has(each.pid) && !hasEnded(each))
}

/** Matches the marks of an agent, or of all agents of a fleet, whose folders lie in the fleet's folder. */
export function markedBy(folder: string): (mark: string) => boolean {
  return (mark) => mark === folder || mark.startsWith(`${folder}/`)
}

/**
 * Rounds of looking for processes that were started meanwhile, or that take no signal while they wait for a disk: five seconds
 * in all.
 */
const ROUNDS = 500
const ROUND_MS = 10

/** Stops the processes, and those that they start meanwhile. Answers their number; all are stopped when it returns. */
export async function freeze(wanted: (mark: string) => boolean, clock: Clock): Promise<number> {
  for (let round = 0; round < ROUNDS; round += 1) {
    const family = descendantsOf(processes(), wanted)
    const moving = family.filter(({ state }) => state !== 'T' && state !== 't')
    if (moving.length === 0) return family.length
    for (const { pid } of moving) send(pid, 'SIGSTOP')
    await clock.sleep(ROUND_MS)
  }
  return descendantsOf(processes(), wanted).length
}

export function thaw(wanted: (mark: string) => boolean): number {
  const family = descendantsOf(processes(), wanted)
  for (const { pid } of family) send(pid, 'SIGCONT')
  return family.length
}

/** Kills the processes, and those that they start meanwhile. Answers how many are left after 5 s: as a rule 0. */
export async function killAll(wanted: (mark: string) => boolean, clock: Clock): Promise<number> {
  let left = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    const family = descendantsOf(processes(), wanted)
    left = family.length
    if (left === 0) return 0
    // All are stopped first, so that none sees another die and starts a new process.
    for (const { pid } of family) send(pid, 'SIGSTOP')
    for (const { pid } of descendantsOf(processes(), wanted)) send(pid, 'SIGKILL')
    await clock.sleep(ROUND_MS)
  }
  return left
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // it has ended meanwhile
  }
}
