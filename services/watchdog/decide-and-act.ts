import { endsOf } from '#fleet/conversation.ts'
import { type Code, isPassing, S2Error } from '#fleet/errors.ts'
import type { NewIncident } from '#fleet/incident.ts'
import { detectPause } from '#fleet/observer-pause.ts'
import { type PlannedMove, takesTurn } from '#fleet/task-reassignment.ts'
import { type Clock, type Moment, momentOf } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { KnownTroubles } from '#runtime/trouble-log.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
import { type Decision, decide, findSingleLosses, nextSingleLoss } from './decide.ts'
import { type Departure, findDepartures, findMissing } from './departed-agents.ts'
import type { FlappingAgents } from './flapping-agents.ts'
import type { FleetObservation, PassedVerdict } from './fleet-observation.ts'
import type { OpenIncidents } from './open-incidents.ts'
import type { OpenTasksState } from './open-tasks-state.ts'
import { isLoss, type ReportedLosses } from './reported-losses.ts'
import { inSlices } from './time-slice.ts'
import type { WorkVerdicts } from './work-verdicts.ts'

/** Writes that are asked for at a time: a store that groups its commits makes one of them. */
const WRITES_AT_ONCE = 100

export interface LookParts {
  readonly observation: FleetObservation
  readonly board: OpenTasksState
  readonly losses: ReportedLosses
  readonly flaps: FlappingAgents
  readonly incidents: OpenIncidents
  readonly work: WorkVerdicts
  /** Writes that the store refused when they were tried last. */
  readonly refused: KnownTroubles
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
}

/** What a look did. */
interface Done {
  readonly moved: number
  /** How many incidents it opened or closed, of which people are to be told. */
  readonly news: number
}

/** What came of a look. */
export interface Look extends Done {
  readonly changes: readonly PassedVerdict[]
  /** Until the next look is wanted, milliseconds. */
  readonly waitMs: number
}

/**
 * One look at the fleet, by the verdicts as they are: read, decide, remember, act. Throws what the store throws; the next look
 * makes good for it.
 */
export async function decideAndAct(config: WatchConfig, parts: LookParts): Promise<Look> {
  const { observation, board, losses, flaps, incidents, clock } = parts
  const begun = momentOf(clock) // both clocks at once: a program that is stopped between them would take the deadlines for nearer
  const { now: at, wall } = begun
  // what is decided while the database cannot be written to would be outdated when it can
  const isHindered = observation.trouble !== null && !observation.isBlind
  if (observation.readAt === null || isHindered) return { moved: 0, news: 0, changes: [], waitMs: config.watchMs }
  const isRound = observation.roundAt + config.roundMs <= at
  const isEverything = isRound || observation.hasUnknownSessions
  const areTasksFresh = await readFleet(begun, isEverything, parts)
  const departures = isEverything ? await readDepartures(parts) : NO_DEPARTURES
  const decision = decide({
    at,
    wall,
    config,
    observed: observation,
    board,
    areTasksFresh,
    losses: losses.byAgent,
    lossHistory: flaps,
    openIncidents: incidents.byCause,
    departures,
  })
  remember(decision, at, parts)
  const done = await act(decision, at, config, parts)
  if (isRound) observation.endRound(at)
  const news = done.news + (isRound ? await incidents.retell() : 0)
  return { ...done, news, changes: observation.takeUnanswered(), waitMs: untilNext(config, at, parts) }
}

/**
 * Reads tasks when they are wanted, then who there is: in this order, so that a holder whom the conversations do not name
 * has none any more. Answers whether the tasks are fresh.
 */
async function readFleet(begun: Moment, isEverything: boolean, parts: LookParts): Promise<boolean> {
  const { observation, board } = parts
  const { now: at, wall } = begun
  const areTasksWanted =
    isEverything || board.isDue(at, observation) || findSingleLosses({ at, observed: observation, board }).length > 0
  if (areTasksWanted) await readTasks(begun, parts)
  if (isEverything || (areTasksWanted && board.hasUnknownHolder(observation.fleet))) await readAgents(parts)
  if (isEverything) await readIncidents(parts)
  const told = agentsOf(parts.incidents.of('task_not_taken'))
  if (areTasksWanted) board.observeHolders(observation, at, wall, told)
  return areTasksWanted
}

async function readTasks({ now: at, wall }: Moment, { store, clock, observation, board }: LookParts): Promise<void> {
  const { lossCount } = observation
  const [tasks, said] = await Promise.all([store.tasks({ open: true }), store.conditions()])
  // what `s2 work` says of its place is known better than what a client shows beside it
  const sayers = new Set(said.map(({ session }) => session))
  const shown = observation.clients.conditions(at, wall).filter(({ session }) => !sayers.has(session))
  board.take(tasks, [...said, ...shown], at, clock.now() - at, lossCount)
}

async function readAgents({ store, clock, observation, board }: LookParts): Promise<void> {
  const { unknownReads } = observation
  // by the clock as it goes on: an agent that is new has a full silence from now, not from when it was asked
  const learning = observation.learn(endsOf(await store.conversations()), () => clock.now(), unknownReads)
  await inSlices(learning, clock)
  board.noteEndedHolders(observation.fleet)
}

const NO_DEPARTURES: ReadonlyMap<string, Departure> = new Map()

/** The registry of workers is read only when somebody is waited for that no conversation names. */
async function readDepartures({ store, observation, incidents }: LookParts): Promise<ReadonlyMap<string, Departure>> {
  const { fleet, massLost } = observation
  const missing = findMissing(incidents.byCause.values(), massLost, fleet)
  if (missing.size === 0) return NO_DEPARTURES
  const departures = findDepartures(missing, await store.workers(), fleet)
  observation.noteDepartures(departures.keys())
  return departures
}

async function readIncidents({ observation, losses, flaps, incidents, clock, store }: LookParts): Promise<void> {
  const isFirst = observation.roundAt === Number.NEGATIVE_INFINITY
  const open = await incidents.read()
  for (const incident of open) {
    if (isFirst && isLoss(incident) && incident.agent !== null) observation.suspect(incident.agent, clock.now())
  }
  losses.takeOpen(open, observation.fleet)
  const flapping = agentsOf(incidents.of('flapping'))
  if (isFirst || [...flapping].some((agent) => flaps.flapping(agent) === null))
    flaps.read(await store.incidents({ open: false }), clock.now(), clock.wall())
  flaps.forget(flapping, clock.now())
}

function agentsOf(incidents: readonly Pick<NewIncident, 'agent'>[]): ReadonlySet<string> {
  return new Set(incidents.flatMap(({ agent }) => (agent === null ? [] : [agent])))
}

/** Each owner keeps what the decision leaves to it. */
function remember({ singleLosses, returns, board: memory, work }: Decision, at: number, parts: LookParts): void {
  const { observation, board, losses, flaps } = parts
  if (work !== null) parts.work.replace(work)
  for (const agent of singleLosses) {
    observation.setApart(agent, at)
    flaps.noteLoss(agent, at)
  }
  for (const agent of returns) flaps.noteReturn(agent, at)
  losses.add(singleLosses)
  if (memory !== null) board.remember(memory)
}

/** Does what was decided, all at once: a store that groups its commits makes one of moves and incidents. */
async function act(
  { open, close, moves, endings, reminders }: Decision,
  at: number,
  config: WatchConfig,
  parts: LookParts,
): Promise<Done> {
  const { observation, board, losses, flaps, incidents, store, log } = parts
  let [moved, news] = [0, 0]
  // another watchdog may have reported the same loss by another cause
  if (open.some(isLoss)) losses.takeOpen(await incidents.read(), observation.fleet)
  const writes: Write[] = [
    ...moves.map((planned) => ({
      what: `move ${planned.move.task}`,
      run: async () => {
        if (await move(planned, parts)) moved += 1
      },
    })),
    ...endings.map((ending) => ({
      what: `end ${ending.task}`,
      run: async () => {
        if (!(await store.endTask(ending))) return
        news += 1
        log.warn('task ended', { task: ending.task, reason: ending.reason })
      },
    })),
    ...reminders.map(({ id, epoch }) => ({
      what: `remind of ${id}`,
      run: async () => {
        if (await store.remindTask(id, epoch)) log.info('agent reminded of its task', { task: id })
      },
    })),
    ...open.map((incident) => ({
      what: `open ${incident.cause}`,
      run: async () => {
        if (isLoss(incident) && !losses.isDue(incident.agent ?? '')) return
        if (await incidents.open(incident)) news += 1
        if (!incidents.isOpen(incident.cause)) return // it was closed since the lists were read: newer ones decide
        if (isLoss(incident)) losses.noteReport(incident, observation.fleet)
        if (incident.kind === 'graces') observation.noteGracesReport()
        if (incident.kind === 'flapping' && incident.agent !== null) flaps.noteFlapping(incident.agent, at)
      },
    })),
    ...close.map((end) => ({
      what: `close ${end.cause}`,
      run: async () => {
        if (await incidents.close(end)) news += 1
      },
    })),
  ]
  if (moves.length + endings.length > 0) board.invalidate()
  await writeAll(writes, () => isOutdated(at, config, parts), parts)
  observation.distrust(agentsOf(incidents.of('flapping')))
  if (moves.some(({ need }) => takesTurn(need))) board.beginTurn(at)
  return { moved, news }
}

/** One write of a look. */
interface Write {
  readonly what: string
  readonly run: () => Promise<void>
}

/** What the store refuses for a reason of its own: it answers, so other writes go on, and this one comes again if it is wanted. */
const REFUSALS: ReadonlySet<Code> = new Set(['expired', 'conflict', 'not_found', 'invalid', 'stale_epoch'])

/**
 * Writes all, each whatever becomes of the others, but what is outdated by then: the next look decides anew. Throws what is no
 * refusal; while the store is away the rest is left for later.
 */
async function writeAll(writes: readonly Write[], isOutdated: () => boolean, parts: LookParts): Promise<void> {
  const failures: unknown[] = []
  for (let from = 0; from < writes.length && !failures.some(isPassing); from += WRITES_AT_ONCE) {
    const batch = writes.slice(from, from + WRITES_AT_ONCE)
    const ends = await Promise.allSettled(batch.map(async ({ run }) => (isOutdated() ? undefined : await run())))
    for (const [index, end] of ends.entries()) {
      const what = batch[index]?.what ?? ''
      if (end.status === 'fulfilled') parts.refused.isOver(what)
      else if (end.reason instanceof S2Error && REFUSALS.has(end.reason.code)) noteRefusal(what, end.reason, parts)
      else failures.push(end.reason)
    }
  }
  if (failures.length > 0) throw failures[0]
}

/** The holder that was meant has no conversation any more: who there is, is read again with the next look. */
function noteRefusal(what: string, error: S2Error, { refused, log, observation }: LookParts): void {
  if (refused.isNew(what, String(error))) log.warn('write refused', { what, error })
  if (error.code === 'expired') observation.doubtConversations()
}

/**
 * What was seen or read so long ago may have changed since: a move by it takes work from an agent that lives, and of what
 * another watchdog told meanwhile it tells again, or the opposite. Only the wall clock shows that the machine slept.
 */
function isOutdated(at: number, config: WatchConfig, { observation, clock }: LookParts): boolean {
  const { readAt } = observation
  if (readAt === null) return true
  const gap = { expectedMs: 0, monotonicMs: clock.now() - Math.min(at, readAt.now), wallMs: clock.wall() - readAt.wall }
  return detectPause(gap, config.lateAfterMs) !== null
}

/** Answers false when another watchdog was first, or the task ended. */
async function move({ move, need, successor }: PlannedMove, { store, log }: LookParts): Promise<boolean> {
  if (!(await store.move(move))) return false
  log.warn('task reassigned', { task: move.task, from: need.task.holder, to: successor, reason: move.reason })
  return true
}

/** When something is to be looked at though nothing happens, after a look that began at `at`; milliseconds from now. */
function untilNext(config: WatchConfig, at: number, { observation, board, clock }: LookParts): number {
  const now = clock.now()
  const { massReturnUntil, roundAt } = observation
  const massReturn = massReturnUntil > now ? massReturnUntil : Number.POSITIVE_INFINITY
  const next = Math.min(board.nextReadAt, massReturn, nextSingleLoss(at, observation), roundAt + config.roundMs)
  return Math.max(0, next - now)
}
