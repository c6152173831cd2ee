import { endsOf } from '#fleet/conversation.ts'
import type { NewIncident } from '#fleet/incident.ts'
import { detectPause } from '#fleet/observer-pause.ts'
import type { SessionId } from '#fleet/session.ts'
import type { PlannedMove } from '#fleet/task-reassignment.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
import { type Decision, decide } from './decide.ts'
import type { OpenIncidents } from './open-incidents.ts'
import { inSlices } from './time-slice.ts'
import type { Passed, View } from './view.ts'

/** How often open tasks are read though nothing happened: so long may a task lie that nobody was given. */
const TASKS_EVERY_MS = 1_000
/** How seldom they may be read, however long that takes. */
const TASKS_SELDOM_MS = 10_000
/** Writes that are asked for at a time: a store that groups its commits makes one of them. */
const WRITES_AT_ONCE = 100

export interface LookParts {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly incidents: OpenIncidents
}

interface Deeds {
  readonly moved: number
  /** Incidents opened or closed: somebody is to be told. */
  readonly news: number
}

/** What came of a look. */
export interface Look extends Deeds {
  readonly changes: readonly Passed[]
  /** Until the next look is wanted, milliseconds. */
  readonly waitMs: number
}

/**
 * One look at the fleet, by the verdicts as they are: read, decide, act, tell. Throws what the store throws; the next look
 * makes good for it.
 */
export async function look(view: View, config: WatchConfig, parts: LookParts): Promise<Look> {
  const at = parts.clock.now()
  if (view.seen === null) return { moved: 0, news: 0, changes: [], waitMs: config.watchMs }
  const isRound = view.roundAt + config.roundMs <= at
  const hasTasks = await readFleet(view, at, isRound || view.hasStrangers, config, parts)
  const done = await act(decide(view, at, hasTasks, config, parts.incidents), view, at, config, parts)
  if (isRound) view.roundAt = at
  const { changes } = view
  view.changes = []
  return { ...done, changes, waitMs: untilNext(view, config, at, parts.clock.now()) }
}

/**
 * Reads tasks when they are wanted, then who there is: in this order, so that a holder whom the conversations do not name
 * has none any more. Answers whether the tasks are fresh.
 */
async function readFleet(
  view: View,
  at: number,
  isEverything: boolean,
  config: WatchConfig,
  parts: LookParts,
): Promise<boolean> {
  const tasksWanted = isEverything || areTasksDue(view, at, config)
  if (tasksWanted) await readTasks(view, at, parts)
  if (isEverything || (tasksWanted && hasUnknownHolder(view))) await readAgents(view, parts)
  if (isEverything) await readIncidents(view, parts)
  if (isEverything) view.hasStrangers = false
  if (tasksWanted) noteLeases(view, at, config)
  return tasksWanted
}

function areTasksDue(view: View, at: number, config: WatchConfig): boolean {
  if (view.tasksStale || view.leases.nextLapse <= at || view.failed(at).length > 0) return true
  if (view.waiting > 0 && view.turnAt <= at) return true
  return view.tasksAt + tasksEvery(view, config) <= at
}

function tasksEvery(view: View, config: WatchConfig): number {
  const cheapMs = Math.min(TASKS_EVERY_MS, config.leaseMs / 4, config.roundMs)
  return Math.max(cheapMs, view.tasksCost.restMs(TASKS_SELDOM_MS))
}

async function readTasks(view: View, at: number, { store, clock }: LookParts): Promise<void> {
  view.tasks = await store.tasks({ open: true })
  view.holders = new Set(
    view.tasks.flatMap(({ holder }) => (holder === null ? [] : (view.roster.agentOf(holder) ?? []))),
  )
  view.tasksCost.note(clock.now() - at)
  view.tasksAt = at
  view.tasksStale = false
}

function hasUnknownHolder(view: View): boolean {
  return view.tasks.some(({ holder }) => holder !== null && !isKnown(view, holder))
}

function isKnown({ roster, ended }: View, holder: SessionId): boolean {
  return roster.agentOf(holder) !== undefined || ended.has(holder)
}

async function readAgents(view: View, { store, clock }: LookParts): Promise<void> {
  const { roster, tasks, silent } = view
  // by the clock as it goes on: whoever is new has a full silence from now, not from when it was asked
  const learning = roster.learn(endsOf(await store.conversations()), () => clock.now())
  await inSlices(learning, clock)
  const holders = tasks.flatMap(({ holder }) => (holder === null ? [] : [holder]))
  view.ended = new Set(holders.filter((holder) => roster.agentOf(holder) === undefined))
  for (const agent of silent) if (!roster.has(agent)) silent.delete(agent)
  for (const agent of view.owed) if (!roster.has(agent)) view.owed.delete(agent)
  view.dirty = true
}

async function readIncidents(view: View, { incidents, clock }: LookParts): Promise<void> {
  const isFirst = view.roundAt === Number.NEGATIVE_INFINITY
  const open = await incidents.read()
  for (const { kind, agent } of open) {
    if (isFirst && (kind === 'silent' || kind === 'gone') && agent !== null) view.roster.suspect(agent, clock.now())
  }
  mourn(view, open)
}

function mourn(view: View, open: readonly NewIncident[]): void {
  const dead = open.flatMap(({ kind, agent }) => (kind === 'gone' && agent !== null ? [agent] : []))
  for (const agent of view.mourned.keys()) if (!dead.includes(agent)) view.mourned.delete(agent)
  for (const agent of dead) {
    if (!view.mourned.has(agent)) view.mourned.set(agent, view.roster.standing(agent)?.signs ?? 0)
  }
}

/** Another watchdog's moves take up the turn as well: together they move no faster than one. */
function noteLeases(view: View, at: number, config: WatchConfig): void {
  const { roster, leases } = view
  const left = leases.observe(view.tasks, roster, at)
  const isServed = (agent: string): boolean => {
    return !view.serving.has(agent) && (view.silent.has(agent) || leases.isStuck(agent))
  }
  if (view.turnAt <= at && [...left].some(isServed)) view.turnAt = at + config.moveEveryMs
  view.serving.clear()
}

/** Does what was decided, all at once: a store that groups its commits makes one of moves and incidents. */
async function act(
  { open, close, moves }: Decision,
  view: View,
  at: number,
  config: WatchConfig,
  parts: LookParts,
): Promise<Deeds> {
  const { incidents } = parts
  let [moved, news] = [0, 0]
  if (open.some(isLoss)) mourn(view, await incidents.read()) // another watchdog may tell of it by another name
  const deeds: (() => Promise<void>)[] = [
    ...moves.map((planned) => async () => {
      if (!isStale(view, at, config, parts) && (await move(planned, parts))) moved += 1
    }),
    ...open.map((incident) => async () => {
      if (!isToldOf(incident, parts) && (await incidents.open(incident))) news += 1
      if (isLoss(incident) && incident.agent !== null) view.owed.delete(incident.agent)
      if (incident.kind === 'gone' && incident.agent !== null) {
        view.mourned.set(incident.agent, view.roster.standing(incident.agent)?.signs ?? 0)
      }
    }),
    ...close.map((cause) => async () => {
      if (await incidents.close(cause)) news += 1
    }),
  ]
  if (moves.length > 0) view.tasksStale = true
  for (let from = 0; from < deeds.length; from += WRITES_AT_ONCE) {
    const ends = await Promise.allSettled(deeds.slice(from, from + WRITES_AT_ONCE).map((deed) => deed()))
    const failure = ends.find((end) => end.status === 'rejected')
    if (failure !== undefined) throw failure.reason
  }
  if (moves.some(({ move }) => move.reason !== 'unassigned')) view.turnAt = at + config.moveEveryMs
  return { moved, news }
}

function isLoss({ kind }: NewIncident): boolean {
  return kind === 'silent' || kind === 'gone'
}

/** An agent that was lost is told of once, whether it was first missed or first known to be dead. */
function isToldOf(incident: NewIncident, { incidents }: LookParts): boolean {
  const { agent } = incident
  return isLoss(incident) && (incidents.isOpen(`silent:${agent}`) || incidents.isOpen(`gone:${agent}`))
}

/**
 * What was seen or read so long ago may have changed since: who moves by it takes work from the living. Only the wall clock
 * shows that the machine slept meanwhile.
 */
function isStale({ seen }: View, at: number, config: WatchConfig, { clock }: LookParts): boolean {
  if (seen === null) return true
  const gap = { expectedMs: 0, monotonicMs: clock.now() - Math.min(at, seen.now), wallMs: clock.wall() - seen.wall }
  return detectPause(gap, config.lateAfterMs) !== null
}

/** Answers false when another watchdog was first, or the task ended. */
async function move({ move, need, successor }: PlannedMove, { store, log }: LookParts): Promise<boolean> {
  if (!(await store.move(move))) return false
  log.warn('task reassigned', { task: move.task, from: need.task.holder, to: successor, reason: move.reason })
  return true
}

/** When something is to be looked at though nothing happens, after a look that began at `at`. */
function untilNext(view: View, config: WatchConfig, at: number, now: number): number {
  const never = Number.POSITIVE_INFINITY
  const tasks = view.tasksAt + tasksEvery(view, config)
  const turn = view.waiting > 0 ? view.turnAt : never
  const mercy = view.mercyUntil > now ? view.mercyUntil : never
  const next = Math.min(tasks, turn, mercy, view.nextFailure(at), view.leases.nextLapse, view.roundAt + config.roundMs)
  return Math.max(0, next - now)
}
