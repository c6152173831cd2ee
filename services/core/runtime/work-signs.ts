import { readdir } from 'node:fs/promises'
import type { Clock } from './clock.ts'
import { hasEnded, type ProcessStat, processStat } from './process-stat.ts'
import { yieldToEvents } from './yield-to-events.ts'

/** Processor time of a tree that is work, as a part of one core since the last look: the timers of an idle program take less. */
const BUSY_SHARE = 0.002
const BUSY_TICKS_MIN = 2
const TICKS_PER_MS = 0.1
/** Processes that are read in one go, before other work of this program has its turn: about 1 ms. */
const SLICE = 40

/**
 * The signs of work of a command: output, processor time of its processes, and children that come or go. Its processes are its
 * descendants, its process group and its session, and whatever was one of these when it was looked at before.
 */
export class WorkSigns {
  readonly #leader: number
  readonly #clock: Clock
  readonly #procFolder: string
  #hasOutput = false
  #before: Tree | null = null
  /** Whether the processes were last read before there was output: what they did since they may have done by that. */
  #isOutdated = false
  #looking: Promise<boolean> | null = null

  /** `leader`: the process that leads the group and the session of the command. */
  constructor(leader: number, clock: Clock, procFolder = '/proc') {
    this.#leader = leader
    this.#clock = clock
    this.#procFolder = procFolder
  }

  noteOutput(): void {
    this.#hasOutput = true
  }

  /**
   * Whether there was a sign since the last look, as far as it can be told: processes are compared where neither look saw output.
   * Where there is no /proc, output is all.
   */
  async look(): Promise<boolean> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null
    })
    return await this.#looking
  }

  async #look(): Promise<boolean> {
    const hadOutput = this.#hasOutput
    this.#hasOutput = false
    const isOutdated = this.#isOutdated
    this.#isOutdated = hadOutput
    if (hadOutput) return true // whoever prints much is looked at often: its processes need not be read for that
    const before = this.#before
    const now = await readTree(this.#procFolder, this.#leader, before, this.#clock)
    this.#before = now
    return !isOutdated && before !== null && now !== null && hasMoved(before, now)
  }
}

/** Processes by their number. */
export type Processes = ReadonlyMap<number, ProcessStat>

/** The living processes of a command at one moment. */
export interface Tree {
  readonly at: number
  /** Their processor time, by what identifies them. */
  readonly ticks: ReadonlyMap<string, number>
}

/** Whether processes came, went or took more time than an idle program does. */
export function hasMoved(before: Tree, now: Tree): boolean {
  if (before.ticks.size !== now.ticks.size) return true
  let ticks = 0
  for (const [id, spent] of now.ticks) {
    const known = before.ticks.get(id)
    if (known === undefined) return true
    ticks += spent - known
  }
  return ticks >= Math.max(BUSY_TICKS_MIN, (now.at - before.at) * TICKS_PER_MS * BUSY_SHARE)
}

/** Null where processes cannot be read. */
async function readTree(folder: string, leader: number, before: Tree | null, clock: Clock): Promise<Tree | null> {
  const all = await readProcesses(folder)
  if (all === null) return null
  const members = new Set<number>()
  for (const [pid, stat] of all) {
    if (stat.session === leader || stat.group === leader || pid === leader || before?.ticks.has(idOf(pid, stat)))
      members.add(pid)
  }
  return treeOf(members, all, clock.now())
}

/** Some processes and all that descend from them. */
export function treeOf(roots: Iterable<number>, all: Processes, at: number): Tree {
  const members = new Set(roots)
  for (let size = -1; size !== members.size; ) {
    size = members.size
    for (const [pid, { parent }] of all) if (members.has(parent)) members.add(pid)
  }
  const ticks = new Map<string, number>()
  for (const pid of members) {
    const stat = all.get(pid)
    if (stat !== undefined && !hasEnded(stat)) ticks.set(idOf(pid, stat), stat.ticks)
  }
  return { at, ticks }
}

/** A pid is used again; with the time of its start it is one process. */
export function idOf(pid: number, { startedAt }: ProcessStat): string {
  return `${pid}@${startedAt}`
}

/** All processes that can be seen; null where none can. */
export async function readProcesses(folder = '/proc'): Promise<Processes | null> {
  const names = await readdir(folder).catch(() => null)
  const pids = names?.filter((name) => /^\d+$/.test(name)) ?? []
  if (pids.length === 0) return null
  const found = new Map<number, ProcessStat>()
  for (let from = 0; from < pids.length; from += SLICE) {
    for (const pid of pids.slice(from, from + SLICE)) {
      const stat = processStat(Number(pid), folder)
      if (stat !== null) found.set(Number(pid), stat)
    }
    await yieldToEvents()
  }
  return found
}
