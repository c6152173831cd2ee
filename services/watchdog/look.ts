import { agentsOf } from '#fleet/conversation.ts'
import type { AgentVerdict, VerdictChange } from '#fleet/liveness.ts'
import type { PlannedMove } from '#fleet/reassignment.ts'
import type { SessionId } from '#fleet/session.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
import { type Decision, decide } from './decide.ts'
import type { Incidents } from './incidents.ts'
import type { Sighting, View } from './view.ts'

/** How often open tasks are read even when nothing happened: so long may a task lie that nobody was given. */
const TASKS_EVERY_MS = 1_000
/** Reading tasks, and telling verdicts, may each take one part in so many of the watchdog's time: deadlines come first. */
const COST_SHARE = 200
/** Writes that are asked for at a time: a store that groups its commits makes one of them. */
const WRITES_AT_ONCE = 100

export interface LookParts {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly incidents: Incidents
}

interface Deeds {
  readonly moved: number
  /** Incidents opened or closed: somebody is to be told. */
  readonly news: number
}

/** What came of a look. */
export interface Look extends Deeds {
  readonly changes: readonly VerdictChange[]
  /** Until the next look is wanted, milliseconds. */
  readonly waitMs: number
}

/** One look at the fleet: read, decide, act, tell. Throws what the store throws; the next look makes good for it. */
export async function look(view: View, config: WatchConfig, parts: LookParts): Promise<Look> {
  const at = parts.clock.now()
  const sighting = await readBeats(view, config, parts)
  judge(view, at, parts)
  const isRound = view.roundAt + config.roundMs <= at
  const hasTasks = await readFleet(view, at, isRound || sighting.strangers > 0, config, parts)
  let done: Deeds = { moved: 0, news: 0 }
  if (!isStale(at, config, parts)) {
    done = await act(decide(view, at, hasTasks, config, parts.incidents), view, at, config, parts)
    await tellVerdicts(view, at, isRound, parts)
    if (isRound) view.roundAt = at
  }
  view.waitMs = untilNext(view, config, parts.clock.now())
  const { changes } = view
  view.changes = []
  return { ...done, changes, waitMs: view.waitMs }
}

/** What was read so long ago may have changed since: who acts on it moves the work of the living. */
function isStale(at: number, config: WatchConfig, { clock }: LookParts): boolean {
  return clock.now() - at > config.lateAfterMs
}

async function readBeats(view: View, config: WatchConfig, { store, clock, log }: LookParts): Promise<Sighting> {
  const before = moment(clock)
  const pulses = await store.pulses(view.cursor)
  const sighting = view.sight(pulses, before, moment(clock))
  if (sighting.blink !== null) {
    log.warn('did not see for a while: nobody is convicted for a full silence', {
      why: sighting.blink,
      graceMs: config.silentAfterMs,
    })
  }
  return sighting
}

/** Passes the verdicts that are due, and notes how late that was. */
function judge(view: View, at: number, { clock, log }: LookParts): void {
  const before = view.changes.length
  view.judge(at)
  for (const { agent, from, to, at: due } of view.changes.slice(before)) {
    if (from === 'silent' || to === 'silent') log.info('verdict', { agent, from, to })
    if (to === 'alive') continue
    view.passedAt = clock.now()
    view.lagMs = view.passedAt - due
  }
  view.muster(at)
}

function moment(clock: Clock): { now: number; wall: number } {
  return { now: clock.now(), wall: clock.wall() }
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
  if (isEverything || (tasksWanted && hasUnknownHolder(view))) await readAgents(view, at, parts)
  if (isEverything) await readIncidents(view, at, parts)
  if (tasksWanted) noteLeases(view, at, config)
  return tasksWanted
}

function areTasksDue(view: View, at: number, config: WatchConfig): boolean {
  if (view.tasksStale || view.leases.nextLapse <= at) return true
  if (view.waiting > 0 && view.turnAt <= at) return true
  return view.tasksAt + tasksEvery(view, config) <= at
}

function tasksEvery(view: View, config: WatchConfig): number {
  const cheapMs = Math.min(TASKS_EVERY_MS, config.leaseMs / 4, config.roundMs)
  return Math.min(config.roundMs, Math.max(cheapMs, config.watchMs, COST_SHARE * view.tasksCostMs))
}

async function readTasks(view: View, at: number, { store, clock }: LookParts): Promise<void> {
  view.tasks = await store.tasks({ open: true })
  view.tasksCostMs = clock.now() - at
  view.tasksAt = at
  view.tasksStale = false
}

function hasUnknownHolder(view: View): boolean {
  return view.tasks.some(({ holder }) => holder !== null && !isKnown(view, holder))
}

function isKnown({ roster, ended }: View, holder: SessionId): boolean {
  return roster.agentOf(holder) !== undefined || ended.has(holder)
}

async function readAgents(view: View, at: number, { store }: LookParts): Promise<void> {
  const { roster, tasks, silent } = view
  roster.know(agentsOf(await store.conversations()), at)
  const holders = tasks.flatMap(({ holder }) => (holder === null ? [] : [holder]))
  view.ended = new Set(holders.filter((holder) => roster.agentOf(holder) === undefined))
  for (const agent of silent) if (!roster.has(agent)) silent.delete(agent)
  for (const agent of view.owed) if (!roster.has(agent)) view.owed.delete(agent)
  view.dirty = true
}

async function readIncidents(view: View, at: number, { incidents }: LookParts): Promise<void> {
  const isFirst = view.roundAt === Number.NEGATIVE_INFINITY
  for (const { kind, agent } of await incidents.read()) {
    if (isFirst && kind === 'silent' && agent !== null) view.roster.suspect(agent, at)
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
  const deeds: (() => Promise<void>)[] = [
    ...moves.map((planned) => async () => {
      if (!isStale(at, config, parts) && (await move(planned, parts))) moved += 1
    }),
    ...open.map((incident) => async () => {
      if (await incidents.open(incident)) news += 1
      if (incident.kind === 'silent' && incident.agent !== null) view.owed.delete(incident.agent)
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

/** Answers false when another watchdog was first, or the task ended. */
async function move({ move, need, successor }: PlannedMove, { store, log }: LookParts): Promise<boolean> {
  if (!(await store.move(move))) return false
  log.warn('task reassigned', { task: move.task, from: need.task.holder, to: successor, reason: move.reason })
  return true
}

/** Writes the verdicts down for people to read: on change and with each round, but never mostly that. */
async function tellVerdicts(view: View, at: number, isRound: boolean, { store, clock }: LookParts): Promise<void> {
  if (!isRound && (!view.dirty || at < view.judgedAt + COST_SHARE * view.judgeCostMs)) return
  const begun = clock.now()
  const offset = clock.wall() - begun
  const verdicts: AgentVerdict[] = []
  for (const { agent, verdict, since, host } of view.roster.standings()) {
    verdicts.push({ agent, verdict, host, since: Math.round(offset + since) })
  }
  view.dirty = false
  try {
    await store.judge(verdicts)
  } catch (error) {
    view.dirty = true
    throw error
  }
  view.judgedAt = clock.now()
  view.judgeCostMs = view.judgedAt - begun
}

function untilNext(view: View, config: WatchConfig, now: number): number {
  const turn = view.waiting > 0 ? view.turnAt : Number.POSITIVE_INFINITY
  const deadline = view.blind ? Number.POSITIVE_INFINITY : view.roster.nextDeadline()
  return Math.max(0, Math.min(config.watchMs, deadline - now, turn - now, view.leases.nextLapse - now))
}
