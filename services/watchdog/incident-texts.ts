import { WHY_MAX } from '#fleet/cut-text.ts'
import { S2Error } from '#fleet/errors.ts'
import type { NewIncident } from '#fleet/incident.ts'
import { redactedHead } from '#fleet/redact.ts'
import type { Task } from '#fleet/task.ts'
import type { Twins } from '#fleet/twin-detector.ts'
import { formatDuration, roughDuration } from '#runtime/duration.ts'
import { STEADY_MS } from './flapping-agents.ts'
import type { Observed } from './fleet-observation.ts'
import type { MassFate } from './mass-losses.ts'
import type { GraceReason, RepeatedGraces } from './recent-graces.ts'

/** What people are told of each cause. A summary says what happened, what follows, and where it can, what to do. */

const SUPERVISOR_AWAY = 'supervisor_away:'
/** How many tasks a summary names. */
const NAMED_MAX = 5

/** What an agent that was lost had: the tasks that it works at all the same, and those that it loses. */
export interface LossTasks {
  readonly kept: readonly Pick<Task, 'id'>[]
  readonly lost: readonly Pick<Task, 'id'>[]
}

/** An agent that was lost by itself. */
export function lossIncident(
  agent: string,
  { fleet, processes }: Pick<Observed, 'fleet' | 'processes'>,
  silentAfterMs: number,
  tasks: LossTasks,
): NewIncident {
  const standing = fleet.standing(agent)
  const where = placeOf(agent, standing?.host)
  const what = lossTasksInWords(tasks)
  const found = processes.of(agent)
  const why =
    found === null || found.state === 'living' ? '' : ` (${found.agentProcess.name}: ${found.agentProcess.why})`
  if (standing?.verdict === 'gone') {
    const summary = `${agent}${where} is gone${why}${what}`
    return { cause: `gone:${agent}`, kind: 'gone', agent, summary }
  }
  const limit = formatDuration(silentAfterMs + (standing?.extraWaitMs ?? 0))
  const summary =
    standing?.isNew === true
      ? `${agent} has tasks and was never heard${why}${what}: on its host, s2 health says what is missing`
      : `${agent}${where} was not heard for ${limit}${why}${what}`
  return { cause: `silent:${agent}`, kind: 'silent', agent, summary }
}

function lossTasksInWords({ kept, lost }: LossTasks): string {
  const [count, other] = [lost.length, kept.length === 0 ? '' : 'other ']
  const moved =
    count === 0
      ? ''
      : count === 1
        ? `; its ${other}task goes to another agent`
        : `; its ${count} ${other}tasks go to other agents`
  if (kept.length === 0) return moved
  const ids = namesOf(kept.map(({ id }) => id))
  return `${moved}; it still renews the lease of ${ids}, and keeps it while it shows work: see whether s2-keepalive runs there`
}

/** An agent that is lost and comes back again and again. */
export function flappingIncident(
  agent: string,
  host: string | null | undefined,
  { losses, withinMs }: { readonly losses: number; readonly withinMs: number },
): NewIncident {
  const times = `was lost and came back ${losses} times within ${roughDuration(withinMs)}`
  const then = `no single loss is told until it has been heard for ${formatDuration(STEADY_MS)} without one`
  const next = 'look at its network, at the load of its machine, and at what starts it again'
  const summary = `${agent}${placeOf(agent, host)} ${times}: ${then}; ${next}`
  return { cause: flappingCause(agent), kind: 'flapping', agent, summary }
}

export function flappingCause(agent: string): string {
  return `flapping:${agent}`
}

/** Where an agent was heard last, as its name is followed by it; nothing where its host is called like it. */
export function placeOf(agent: string, host: string | null | undefined): string {
  return host === null || host === undefined || host === agent ? '' : ` on ${host}`
}

/** Names of agents or tasks, and not too many of them. */
export function namesOf(names: readonly string[]): string {
  const more = names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : ''
  return `${names.slice(0, NAMED_MAX).join(', ')}${more}`
}

/** Two programs use the keys of one worker: the later one is refused, or each takes over the tasks of the other. */
export function twinsIncident({ agent, hosts, refused }: Twins): NewIncident {
  const where = hosts.length > 1 ? `on ${hosts.join(' and ')}` : `twice on ${hosts[0]}, or on two hosts of that name,`
  const who = hosts.length > 1 ? refused : 'the later one'
  const what =
    refused === undefined
      ? 'and takes its own tasks away from itself'
      : `and ${who} was told to stand aside: it gets no mail and no tasks`
  const summary = `${agent} runs ${where} with the same keys, ${what}; stop one of them, or let it join under a name of its own (s2 worker invite)`
  return { cause: `twins:${agent}`, kind: 'twins', agent, summary }
}

export function blindIncident(lateAfterMs: number): NewIncident {
  const summary = `no beats were collected for ${formatDuration(lateAfterMs)}: the bridge may be down; no agent is judged and no task is moved`
  return { cause: 'blind', kind: 'blind', agent: null, summary }
}

export function storeAwayIncident(error: unknown, lateAfterMs: number): NewIncident {
  const why = redactedHead(error instanceof S2Error ? error.message : String(error), WHY_MAX)
  const summary = `the watchdog has not reached its store for ${formatDuration(lateAfterMs)}: no agent is judged and no task is moved (${why})`
  return { cause: 'store_away', kind: 'blind', agent: null, summary }
}

/** What health says meanwhile. */
export function storeTrouble(error: unknown, failingMs: number): string {
  const [what, next] = error instanceof S2Error ? [error.message, error.next] : [String(error), undefined]
  return `${what}, which has gone on for ${roughDuration(failingMs)}${next === undefined ? '' : `; ${next}`}`
}

/** A loop of the watchdog throws what no store throws. */
export function loopFailingIncident(loop: string, error: unknown, lateAfterMs: number): NewIncident {
  const why = redactedHead(String(error), WHY_MAX)
  const summary = `the watchdog has failed at "${loop}" for ${formatDuration(lateAfterMs)} (${why}): this is a fault of S2, and what it does there is not done; see its log, and report it`
  return { cause: 'watchdog_failing', kind: 'blind', agent: null, summary }
}

/** Graces that follow each other so closely that nobody can be found silent: how many, why, and what to do about most of them. */
export function gracesIncident({ windowMs, byReason }: RepeatedGraces): NewIncident {
  const reasons = [...byReason].sort(([, x], [, y]) => y - x)
  const total = reasons.reduce((sum, [, count]) => sum + count, 0)
  const [most] = reasons[0] ?? ['paused']
  const why = reasons.map(([reason, count]) => `${GRACE_REASONS[reason].why} ${count} times`).join(', and ')
  const summary = `the watchdog could judge nobody for ${formatDuration(windowMs)}: it began to wait anew ${total} times, as ${why}; ${GRACE_REASONS[most].next}`
  return { cause: 'graces', kind: 'graces', agent: null, summary }
}

const GRACE_REASONS: Readonly<Record<GraceReason, { readonly why: string; readonly next: string }>> = {
  clock_jumped: {
    why: 'the clock was stepped',
    next: 'let one program set the clock of this machine, and see what else does (timedatectl, journalctl -u chrony)',
  },
  paused: {
    why: 'the watchdog stood still',
    next: 'its machine is overloaded or sleeps again and again: free it, or let a watchdog run elsewhere',
  },
  not_written: { why: 'the database could not be written to', next: 'see who locks it, and whether its disk is full' },
  not_collected: { why: 'beats were not collected', next: 'see s2 health bridge' },
}

export function massSilenceIncident(unheard: number, count: number): NewIncident {
  const summary = `${unheard} of ${count} agents were lost together: the cause is probably something they share, such as the network; no task is moved`
  return { cause: 'mass_silence', kind: 'mass_silence', agent: null, summary }
}

/** What is said of the end of a mass silence. */
export function massSilenceOutcome({ returned, departed, missing }: MassFate, lastedMs: number): string {
  const count = returned + departed + missing.length
  const lasted = roughDuration(lastedMs)
  if (count === 0) return `most agents are heard again after ${lasted}`
  const back = `${returned} of the ${count} agents that were lost together ${returned === 1 ? 'is' : 'are'} heard again after ${lasted}`
  const left = departed === 0 ? '' : `; ${departed} left the fleet`
  return `${back}${left}${missing.length === 0 ? '' : `; not yet: ${namesOf(missing)}`}`
}

export function supervisorIncident(supervisor: string): NewIncident {
  const summary = `${supervisor} does not answer: until it does, no agent is declared gone or started again by what it says`
  return { cause: SUPERVISOR_AWAY + supervisor, kind: 'supervisor_away', agent: null, summary }
}

/** The supervisor that an incident of the kind `supervisor_away` is about. */
export function supervisorOf({ cause }: Pick<NewIncident, 'cause'>): string {
  return cause.slice(SUPERVISOR_AWAY.length)
}
