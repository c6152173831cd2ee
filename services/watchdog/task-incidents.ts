import type { AgentCondition } from '#fleet/agent-condition.ts'
import type { ClientActivity } from '#fleet/client-activity.ts'
import { textHead } from '#fleet/cut-text.ts'
import type { NewIncident } from '#fleet/incident.ts'
import { ANY_ROLE, type Attempt, type EndReason, isLeased, type Task } from '#fleet/task.ts'
import { countedAttempts } from '#fleet/task-attempts.ts'
import type { Stall } from '#fleet/task-clocks.ts'
import { formatDuration, roughDuration } from '#runtime/duration.ts'
import { wholeMinuteText } from '#runtime/instant.ts'
import type { WatchConfig } from './config.ts'
import type { Observed } from './fleet-observation.ts'
import { namesOf, placeOf } from './incident-texts.ts'

/** What people are told of tasks, and of the places that should do them. */

/** How many agents a summary names. */
const NAMED_MAX = 5
/** Characters of a task's last line that are shown. */
const LINE_MAX = 200

export type Conditions = ReadonlyMap<string, Pick<AgentCondition, 'state' | 'why' | 'until'>>

/** No agent can take these tasks: who would, and why each cannot. */
export function strandedIncident(
  role: string | null,
  tasks: readonly Task[],
  observed: Observed,
  conditions: Conditions,
  at: number,
): NewIncident {
  const reasons = whyNobody(role, tasks, observed, conditions, at)
  const what = role === null ? '' : ` for the role ${role}`
  const summary = `no agent can take ${named(tasks)}${what}: ${reasons}; the watchdog tries again until one can`
  return { cause: strandedCause(role), kind: 'task_stranded', agent: null, summary }
}

export function strandedCause(role: string | null): string {
  return STRANDED + (role ?? ANY_ROLE)
}

const STRANDED = 'task_stranded:'

/** Why each agent that would fit cannot take them, or that there is none. */
function whyNobody(
  role: string | null,
  tasks: readonly Task[],
  observed: Observed,
  conditions: Conditions,
  at: number,
): string {
  const wanted = new Set([role, ...tasks.flatMap(({ otherRoles }) => otherRoles)])
  const fitting = [...observed.fleet.standings()].filter(
    (each) => each.taskSession !== null && (role === null || wanted.has(each.role)),
  )
  const why = fitting.slice(0, NAMED_MAX).map((each) => `${each.agent} ${whyUnfit(each, observed, conditions, at)}`)
  const others = fitting.length > NAMED_MAX ? [`${fitting.length - NAMED_MAX} more cannot either`] : []
  return fitting.length === 0 ? noAgentOf(role, observed) : [...why, ...others].join('; ')
}

function whyUnfit(
  { agent, verdict, proven, since }: { agent: string; verdict: string; proven: boolean; since: number },
  { clients }: Pick<Observed, 'clients'>,
  conditions: Conditions,
  at: number,
): string {
  if (verdict !== 'alive') return `has been ${verdict} for ${roughDuration(at - since)}`
  if (!proven) return 'has not been heard yet'
  const condition = conditions.get(agent)
  if (condition !== undefined) return `${conditionInWords(condition)}: ${condition.why}`
  const client = clients.of(agent)?.activity
  if (client?.state === 'waiting') return `waits for a person: ${client.what ?? 'its client shows a dialog'}`
  return client?.state === 'gone' ? 'is there, and its client has ended' : 'takes nothing, or failed at it already'
}

function noAgentOf(role: string | null, { fleet }: Observed): string {
  if (role === null) return 'no worker has joined'
  const roles = [
    ...new Set([...fleet.standings()].flatMap((each) => (each.taskSession === null ? [] : [each.role]))),
  ].sort()
  return `no agent has this role; known are ${roles.length === 0 ? 'none' : roles.slice(0, 2 * NAMED_MAX).join(', ')}`
}

/** The command of a task gives it back again and again, while other work goes well where that is so. */
export function notNowIncident(task: Task, { note }: Attempt, agent: string): NewIncident {
  const said = note === '' ? 'it does not say why' : `its last word: ${note.slice(0, LINE_MAX)}`
  const summary = `the command of task ${task.id} says again that it cannot be done now, though other work goes well at ${agent} (${said}); it is begun again after pauses that grow to half an hour: see what it waits for, or cancel it`
  return { cause: NOT_NOW + task.id, kind: 'task_stranded', agent: null, summary }
}

const NOT_NOW = 'task_not_now:'

/** A task that runs and shows nothing. */
export function stallIncident(
  { task, agent, action }: Stall,
  { stallAfterMs }: Pick<WatchConfig, 'stallAfterMs'>,
  client: ClientActivity | null = null,
): NewIncident {
  const last = task.progress === null ? 'it has printed nothing' : `its last line: ${textHead(task.progress, LINE_MAX)}`
  const summary = `task ${task.id} at ${agent} has shown no sign of work for ${formatDuration(stallAfterMs)} (${last}${clientInWords(client)}); ${actionInWords(action, stallAfterMs)}`
  return { cause: `task_stalled:${task.id}@${task.epoch}`, kind: 'task_stalled', agent, summary }
}

/** What helps to see why nothing comes of it. */
function clientInWords(client: ClientActivity | null): string {
  if (client?.state === 'working')
    return '; its client is in the middle of a turn, and may be stopped, or wait for its model'
  return client?.state === 'idle' ? '; its client waits for input' : ''
}

/** Which attempt of which task an incident says shows no work; null where it is about many. */
export function stalledTask(cause: string): { readonly id: string; readonly epoch: number } | null {
  const [, id, epoch] = /^task_stalled:(.+)@(\d+)$/.exec(cause) ?? []
  return id === undefined ? null : { id, epoch: Number(epoch) }
}

function actionInWords(action: Stall['action'], stallAfterMs: number): string {
  const inSoLong = `in another ${formatDuration(stallAfterMs)}`
  if (action === 'tell') return 'nothing is done about it: see to it, or cancel it'
  return action === 'move'
    ? `${inSoLong} it is ended and begun again, by another agent where there is one`
    : `${inSoLong} it is ended and has failed`
}

/** The cause of the incident that most agents which work show none. */
export const STALLED_TOGETHER = 'task_stalled:many'

export function stallsTogetherIncident(
  stalls: readonly Stall[],
  { stallAfterMs }: Pick<WatchConfig, 'stallAfterMs'>,
): NewIncident {
  const tasks = named(stalls.map(({ task }) => task))
  const summary = `most agents that work have shown no sign of it for ${formatDuration(stallAfterMs)} (${tasks}): the cause is probably something they share, such as what their model is reached by; no task is moved or ended for it`
  return { cause: STALLED_TOGETHER, kind: 'task_stalled', agent: null, summary }
}

/** An agent whose host beats, and that takes nothing. Of its tasks `left` are those that no other agent can get. */
export function untakenIncident(
  agent: string,
  tasks: readonly Task[],
  left: readonly Task[],
  { fleet }: Observed,
  takeWithinMs: number,
): NewIncident {
  const where = placeOf(agent, fleet.standing(agent)?.host)
  const then = left.length === 0 ? 'another agent gets its work' : `no other agent is free to take ${named(left)}`
  const summary = `${agent}${where} beats and has not taken ${named(tasks)} for ${formatDuration(takeWithinMs)}: see whether s2 work, or what its wake command starts, runs there; ${then}`
  return { cause: `task_not_taken:${agent}`, kind: 'task_not_taken', agent, summary }
}

/** A place that cannot work, or may not for a while. */
export function conditionIncident(
  agent: string,
  condition: Pick<AgentCondition, 'state' | 'why' | 'until'>,
): NewIncident {
  const kind = condition.state === 'parked' ? 'parked' : 'sick'
  const summary = `${agent} ${conditionInWords(condition)}: ${condition.why}; it gets no tasks, and tries again by itself`
  return { cause: `${kind}:${agent}`, kind, agent, summary }
}

function conditionInWords({ state, until }: Pick<AgentCondition, 'state' | 'until'>): string {
  if (state === 'probing') return 'is about to try with one task whether it can work again'
  if (state === 'sick') return 'cannot work'
  return until === null ? 'may not work for a while' : `may not work until ${wholeMinuteText(until)}`
}

/** What an agent that tries whether it can work again is shown with. */
export function tryInWords({ why, until }: Pick<AgentCondition, 'why' | 'until'>, wall: number): string {
  return until === null || until > wall
    ? `${why}; it tries with one task whether it can work again`
    : `${why}; that ended at ${wholeMinuteText(until)}, and its next task shows whether it can work`
}

/** What is over, when a limit has ended and no task comes by which that could be tried. */
export function endedLimitOutcome(until: number): string {
  return `its limit ended at ${wholeMinuteText(until)}; the next task shows whether it can work`
}

/** Why a task that ends was not begun, where nobody works at it; null where somebody does. */
export function unbegunInWords(task: Task, observed: Observed, conditions: Conditions, at: number): string | null {
  if (isLeased(task.state)) return null
  if (task.holder !== null) return `${observed.fleet.agentOf(task.holder) ?? task.holder} had it and did not begin it`
  const why = whyNobody(task.role, [task], observed, conditions, at)
  return `no agent could take it since ${timeInWords(task.updatedAt)}: ${why}`
}

/** Why the watchdog ends a task, and what was tried; `unbegun` says why nobody works at it, if nobody does. */
export function endingInWords(
  task: Task,
  reason: EndReason,
  { stallAfterMs }: Pick<WatchConfig, 'stallAfterMs'>,
  unbegun: string | null,
  history: readonly string[],
): string {
  const last = task.progress === null ? '' : `; its last line: ${textHead(task.progress, LINE_MAX)}`
  const passed = task.deadline === null ? '' : ` (${timeInWords(task.deadline)})`
  const why =
    reason === 'attempts'
      ? `it was begun ${countedAttempts(task)} times and never ended`
      : reason === 'deadline'
        ? `its deadline has passed${passed}${unbegun === null ? last : `; ${unbegun}`}`
        : `it showed no sign of work for ${formatDuration(2 * stallAfterMs)}${last}`
  return [why, ...history].join('\n')
}

function timeInWords(wall: number): string {
  return new Date(wall).toISOString().slice(0, 19).concat('Z')
}

function named(tasks: readonly Task[]): string {
  return namesOf(tasks.map(({ id }) => id))
}

/** What is over, when the incident of stranded tasks, or of one that can be done nowhere for now, closes. */
export function strandedOutcome({ cause }: Pick<NewIncident, 'cause'>): string {
  if (cause.startsWith(NOT_NOW)) return `task ${cause.slice(NOT_NOW.length)} has ended`
  const role = cause.slice(STRANDED.length)
  return `no task${role === ANY_ROLE ? '' : ` for the role ${role}`} waits for an agent that could take it any more`
}
