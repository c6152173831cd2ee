import { agentsOf } from '#fleet/conversation.ts'
import type { NewIncident } from '#fleet/incident.ts'
import type { AgentVerdict, VerdictChange } from '#fleet/liveness.ts'
import {
  expectedRoles,
  findCandidates,
  findNeeds,
  type Plan,
  type PlannedMove,
  planMoves,
} from '#fleet/reassignment.ts'
import type { SessionId } from '#fleet/session.ts'
import type { Task } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { formatDuration } from '#runtime/settings.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from './config.ts'
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

/** What came of a look. */
export interface Look {
  readonly changes: readonly VerdictChange[]
  readonly moved: number
  /** Incidents opened or closed: somebody is to be told. */
  readonly news: number
  /** Until the next look is wanted, milliseconds. */
  readonly waitMs: number
}

/** One look at the fleet: read, decide, act, tell. Throws what the store throws; the next look makes good for it. */
export async function look(view: View, config: WatchConfig, parts: LookParts): Promise<Look> {
  const at = parts.clock.now()
  const sighting = await readBeats(view, config, parts)
  judge(view, at, parts)
  const isRound = view.roundAt + config.roundMs <= at
  const tasksRead = await readFleet(view, at, isRound || sighting.strangers > 0, config, parts)
  let news = await tellSilence(view, config, parts)
  let moved = 0
  if (tasksRead && !view.blind) {
    const done = await reassign(view, at, config, parts)
    moved = done.moved
    news += done.news
  }
  await tellVerdicts(view, at, isRound, parts)
  if (isRound) view.roundAt = at
  view.waitMs = untilNext(view, config, parts.clock.now())
  const { changes } = view
  view.changes = []
  return { changes, moved, news, waitMs: view.waitMs }
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
function judge(view: View, at: number, { clock }: LookParts): void {
  const before = view.changes.length
  view.judge(at)
  for (const { to, at: due } of view.changes.slice(before)) if (to !== 'alive') view.lagMs = clock.now() - due
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

/** Opens and closes what is to be said of silence. Answers how many incidents changed. */
async function tellSilence(view: View, config: WatchConfig, parts: LookParts): Promise<number> {
  const { roster } = view
  const { incidents } = parts
  const blindness = toggled('blind', view.blind ? blindIncident(config) : null, view.sees)
  const massSilence = toggled('mass_silence', view.isMass ? massIncident(view) : null, !roster.massSilence)
  let news = (await settle(blindness, parts)) + (await settle(massSilence, parts))
  await inBatches(view.untold, async (agent) => {
    if (await incidents.open(silentIncident(agent, view, config))) news += 1
    roster.told(agent, parts.clock.now())
    parts.log.warn('agent is silent', { agent, host: roster.standing(agent)?.host })
  })
  await inBatches(incidents.of('silent'), async ({ cause, agent }) => {
    const standing = agent === null ? undefined : roster.standing(agent)
    const isBack = standing?.verdict === 'alive' && standing.proven
    if (standing !== undefined && !isBack) return
    if (await incidents.close(cause)) news += 1
    parts.log.info(isBack ? 'agent is back' : 'a silent agent has left', { agent })
  })
  return news
}

/** Acts on all, many at a time; throws the first failure once the others of its batch have ended. */
async function inBatches<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < items.length; from += WRITES_AT_ONCE) {
    const ends = await Promise.allSettled(items.slice(from, from + WRITES_AT_ONCE).map(act))
    const failure = ends.find((end) => end.status === 'rejected')
    if (failure !== undefined) throw failure.reason
  }
}

/** An incident that a condition opens and another closes; between the two it stays as it is. */
interface Toggle {
  readonly cause: string
  readonly wanted: NewIncident | null
  readonly over: boolean
}

function toggled(cause: string, wanted: NewIncident | null, over: boolean): Toggle {
  return { cause, wanted, over }
}

/** Answers 1 when something was opened or closed. */
async function settle({ cause, wanted, over }: Toggle, { incidents }: LookParts): Promise<0 | 1> {
  const isOpen = incidents.isOpen(cause)
  if (wanted !== null && !isOpen) return (await incidents.open(wanted)) ? 1 : 0
  if (wanted === null && over && isOpen) return (await incidents.close(cause)) ? 1 : 0
  return 0
}

function blindIncident(config: WatchConfig): NewIncident {
  const summary = `nobody has collected beats for ${formatDuration(config.lateAfterMs)}: the bridge may be down; nobody is judged and nothing is moved`
  return { cause: 'blind', kind: 'blind', agent: null, summary }
}

function massIncident({ roster }: View): NewIncident {
  const { count, unheard } = roster.muster
  const summary = `${unheard} of ${count} agents fell silent together: the cause is hardly theirs; nothing is moved`
  return { cause: 'mass_silence', kind: 'mass_silence', agent: null, summary }
}

function silentIncident(agent: string, { roster }: View, config: WatchConfig): NewIncident {
  const host = roster.standing(agent)?.host
  const where = host === null || host === undefined ? '' : ` on ${host}`
  const summary = `${agent}${where} was not heard for ${formatDuration(config.silentAfterMs)}; its tasks go to others`
  return { cause: `silent:${agent}`, kind: 'silent', agent, summary }
}

/** Gives tasks that need another owner to others, unless so many are silent that the cause is not theirs. */
async function reassign(
  view: View,
  at: number,
  config: WatchConfig,
  parts: LookParts,
): Promise<{ moved: number; news: number }> {
  view.waiting = 0
  if (view.roster.massSilence) return { moved: 0, news: 0 }
  const plan = makePlan(view, at, config)
  view.waiting = plan.waiting
  const news =
    (await tellExhausted(plan.exhausted, parts)) + (await tellStranded(view, plan.stranded, at, config, parts))
  return { moved: await carryOut(plan.moves, view, at, config, parts), news }
}

function makePlan({ tasks, roster, leases, turnAt }: View, at: number, config: WatchConfig): Plan {
  const needs = findNeeds(tasks, roster, leases, at)
  const isTurn = turnAt <= at
  return planMoves(needs, needs.length === 0 ? [] : findCandidates(tasks, roster, leases), {
    movesMax: config.movesMax,
    agentsNow: config.moveEveryMs === 0 ? Number.POSITIVE_INFINITY : isTurn ? 1 : 0,
    expected: expectedRoles(roster),
    patientSince: at - config.leaseMs,
  })
}

/** Answers how many tasks were moved by this watchdog. */
async function carryOut(
  moves: readonly PlannedMove[],
  view: View,
  at: number,
  config: WatchConfig,
  { store, clock, log }: LookParts,
): Promise<number> {
  let moved = 0
  view.tasksStale = true
  await inBatches(moves, async ({ move, need, successor }) => {
    // Stopped between deciding and doing, it would act on what may have changed long since.
    if (clock.now() - at > config.lateAfterMs) return
    if (need.failed !== null) view.serving.add(need.failed.agent)
    if (!(await store.move(move))) return // another watchdog was first, or it ended
    moved += 1
    log.warn('task reassigned', { task: move.task, from: need.task.holder, to: successor, reason: move.reason })
  })
  view.tasksStale = moved > 0
  if (moves.some(({ move }) => move.reason !== 'unassigned')) view.turnAt = at + config.moveEveryMs
  return moved
}

/** Asks a human about tasks that were moved too often; takes that back for those that need no move any more. */
async function tellExhausted(exhausted: readonly Task[], { incidents }: LookParts): Promise<number> {
  let news = 0
  const causes = new Set(exhausted.map(({ id }) => `task_exhausted:${id}`))
  for (const task of exhausted) {
    const cause = `task_exhausted:${task.id}`
    if (incidents.isOpen(cause)) continue
    const summary = `task ${task.id} lost its owner again after ${task.moves} moves: give it to somebody by hand, or cancel it`
    if (await incidents.open({ cause, kind: 'task_exhausted', agent: null, summary })) news += 1
  }
  for (const { cause } of incidents.of('task_exhausted')) {
    if (!causes.has(cause) && (await incidents.close(cause))) news += 1
  }
  return news
}

/** One incident for all tasks that nobody can take: they have one cause, and that is that nobody is there. */
async function tellStranded(
  view: View,
  stranded: readonly Task[],
  at: number,
  config: WatchConfig,
  parts: LookParts,
): Promise<number> {
  view.strandedSince = stranded.length === 0 ? null : (view.strandedSince ?? at)
  const lasts = view.strandedSince !== null && at - view.strandedSince >= config.lateAfterMs
  return settle(toggled('task_stranded', lasts ? strandedIncident(stranded) : null, view.strandedSince === null), parts)
}

const NAMED_MAX = 5

function strandedIncident(stranded: readonly Task[]): NewIncident {
  const names = stranded.slice(0, NAMED_MAX).map(({ id }) => id)
  const more = stranded.length > NAMED_MAX ? ` and ${stranded.length - NAMED_MAX} more` : ''
  const summary = `no agent is there to take ${names.join(', ')}${more}; tried again until one is`
  return { cause: 'task_stranded', kind: 'task_stranded', agent: null, summary }
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
