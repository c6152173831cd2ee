import { type EndReason, isLeased, type Task } from '#fleet/task.ts'
import { countedAttempts } from '#fleet/task-attempts.ts'
import type { Fallback } from '#fleet/task-reassignment.ts'
import type { Life } from './clock.ts'
import type { OpenIncident, Rule } from './rule.ts'
import type { RuleParts } from './rule-parts.ts'
import { troubleOf } from './work.ts'

/** What is held of the work: each task has a clock, an end and a reason for it. */

/** A task fails because that is what was to become of it, and not because of what befell an agent, a place or the fleet. */
export function aTaskFailsForAReason({ history, settings, clocks }: RuleParts): Rule {
  const objection = (task: Task, reason: EndReason | 'reported'): string | null => {
    const attempts = countedAttempts(task)
    switch (reason) {
      case 'attempts':
        return attempts >= settings.watch.attemptsMax ? null : `after ${attempts} attempts`
      case 'deadline': {
        const leftMs = (task.deadline ?? Number.POSITIVE_INFINITY) - task.updatedAt
        return leftMs <= settings.host.beatMs || clocks.steppedAt() !== null ? null : `${leftMs} ms before it`
      }
      case 'stalled':
        return null // there is a rule for that alone
      default:
        return troubleOf(task) === 'fails at once' ? null : 'though it can be done'
    }
  }
  return {
    onFailed: (task, reason, by) => {
      const why = objection(task, reason)
      if (why !== null) history.violate('a task fails for a reason', `${by} ended ${task.id} (${reason}), ${why}`)
    },
  }
}

/** Only what hangs is told of as stalled, taken from its agent or ended for that: a quiet command is at work. */
export function whoWorksIsLeftAlone({ timeline, history, settings, lapses, witness }: RuleParts): Rule {
  const judge = (task: Task, act: string): void => {
    if (troubleOf(task) === 'hangs') return
    const agent = witness.agentOf(task.holder)
    const wellMs = timeline.now - lapses.lastEnd(agent)
    if (wellMs <= settings.watch.stallAfterMs + settings.watch.silentAfterMs) return
    const since = `nothing had been wrong with ${agent} for ${Math.round(wellMs / 1000)} s`
    history.violate('who works is left alone', `${act}, which was at work, though ${since}`)
  }
  return {
    onMoved: (before, { reason }, by) => reason === 'stalled' && judge(before, `${by} moved ${before.id}`),
    onFailed: (task, reason, by) => reason === 'stalled' && judge(task, `${by} ended ${task.id}`),
    onOpened: ({ cause }, by) => {
      const task = witness.openTasks().find(({ id, epoch }) => cause === `task_stalled:${id}@${epoch}`)
      if (task !== undefined) judge(task, `${by} opened ${cause}`)
    },
  }
}

/** Whether a task may go to an agent of a role: it is the wanted one, another that it names, or one that stands in for those. */
export function mayTake({ role, otherRoles }: Task, ofAgent: string, fallback: Fallback): boolean {
  if (role === null) return true
  const wanted = [role, ...otherRoles]
  return [...wanted, ...wanted.flatMap((each) => fallback.get(each) ?? [])].some(
    (each) => each === ofAgent || each === 'any',
  )
}

/** A task for a role goes to that role; others get it only where it says so. */
export function rolesHold({ history, settings, witness, roleOf }: RuleParts): Rule {
  return {
    onMoved: (task, { to, reason }, by) => {
      const role = roleOf(witness.agentOf(to))
      if (to === null || reason === 'by_hand' || mayTake(task, role, settings.watch.fallback)) return
      history.violate('roles hold', `${by} gave ${task.id}, which is for ${task.role}, to ${role}`)
    },
  }
}

/** What was done is begun again only where its agent could not say that it was done. */
export function whatIsDoneIsNotDoneAgain({ timeline, history, settings, lapses, witness, failures }: RuleParts): Rule {
  const done = new Map<string, { readonly agent: string; readonly at: number }>()
  const { silentAfterMs, leaseMs } = settings.watch
  return {
    onDone: (task) => void done.set(task.id, { agent: witness.agentOf(task.holder), at: timeline.now }),
    onStarted: ({ task }) => {
      const before = done.get(task.id)
      if (before === undefined || task.deadline !== null) return
      const { agent, at } = before
      if (lapses.lastEnd(agent) >= at - silentAfterMs - leaseMs) return
      if (failures(agent, timeline.now - at + leaseMs) > 0) return
      history.violate(
        'what is done is not done again',
        `${task.id} was done by ${agent}, and nothing had been wrong with it`,
      )
    },
  }
}

/** Probes of a place that cannot work grow rarer: their pauses double from a minute to half an hour, less a tenth. */
const PROBE_MS = 54_000
const PROBE_MAX_MS = 30 * PROBE_MS

/** A place that cannot work is asked again, and ever more rarely. */
export function aSickPlaceIsLeftAlone({ timeline, history }: RuleParts): Rule {
  const lives = new Map<string, { readonly from: number; starts: number }>()
  return {
    onStarted: ({ agent, life, isPlaceWell }) => {
      const { now } = timeline
      const known = isPlaceWell ? undefined : lives.get(life)
      const ill = known ?? { from: now, starts: 0 }
      if (isPlaceWell) lives.delete(life)
      else lives.set(life, ill)
      ill.starts += 1
      const ms = now - ill.from
      if (ill.starts > 2 + Math.log2(1 + ms / PROBE_MS) + ms / PROBE_MAX_MS)
        history.violate('a sick place is left alone', `${agent} began ${ill.starts} tasks where no command can work`)
    },
  }
}

/** A task as it is, and since when nothing about it has changed while somebody watched. */
interface Clocked {
  readonly sign: string
  since: number
}

/** Of these nobody is told more than once, and while one lasts no task has a clock. */
export const OF_ALL: readonly OpenIncident['kind'][] = ['mass_silence', 'blind', 'graces']

/** Promise 13: within a time that a person can name each task ends, moves, shows work, or somebody is told of it. */
export function aTaskHasAClock(parts: RuleParts): Rule {
  const { timeline, history, settings, witness, clocks } = parts
  const { pendingAfterMs, takeWithinMs, stallAfterMs, silentAfterMs, leaseMs } = settings.watch
  const sight = new Sight(parts)
  const graceMs = silentAfterMs + leaseMs / 2
  let clocked = new Map<string, Clocked>()
  const told = new Set<string>()
  const dues = new Map<string, { readonly deadline: number; readonly at: number }>()
  const overdueMs = (task: Task, seenSince: number): number => {
    const { id, deadline, updatedAt } = task
    if (deadline === null || clocks.steppedAt() !== null) return 0
    const known = dues.get(id)
    const due =
      known?.deadline === deadline ? known : { deadline, at: timeline.now + Math.max(0, deadline - updatedAt) }
    dues.set(id, due)
    return timeline.now - Math.max(due.at, seenSince)
  }
  const limitOf = ({ state, pause }: Task): number => {
    if (state === 'pending') return pendingAfterMs
    return isLeased(state) ? stallAfterMs : takeWithinMs + (pause === null ? 0 : pause.until - pause.from)
  }
  return {
    onTick: () => {
      const { now } = timeline
      const tasks = witness.openTasks()
      const incidents = witness.openIncidents()
      const seenSince = sight.look(incidents)
      const busy = new Set(tasks.flatMap(({ state, holder }) => (isLeased(state) ? [holder] : [])))
      const before = clocked
      clocked = new Map()
      for (const task of tasks) {
        const agent = witness.agentOf(task.holder)
        const sign = signOf(task, witness.signsOf(agent))
        const known = before.get(task.id)
        const isStill = known?.sign === sign && !(task.state === 'assigned' && busy.has(task.holder))
        // Where people are told of it, its clock begins when that is over.
        const isTold = incidents.some((incident) => tellsOf(incident, task, agent))
        const clock = isStill && !isTold ? known : { sign, since: now }
        clocked.set(task.id, clock)
        if (overdueMs(task, seenSince) > graceMs && !told.has(task.id)) {
          told.add(task.id)
          history.violate('a deadline ends its task', `${task.id} is ${sign} of ${agent} long after it`)
        }
        const ms = now - Math.max(clock.since, seenSince)
        if (ms <= limitOf(task) + graceMs || told.has(task.id)) continue
        told.add(task.id)
        const what = `${task.id} is ${sign} of ${agent} for ${Math.round(ms / 1000)} s`
        history.violate('a task has a clock', `${what}, and nobody is told`)
      }
    },
  }
}

/** What changes when anything is done about a task, or shows work at it. */
function signOf({ state, epoch, work, progress, leaseSeq }: Task, signsOfAgent: string): string {
  if (!isLeased(state)) return `${state}@${epoch}`
  return `leased@${epoch}, ${work} ${signsOfAgent} signs ${work === 0 ? leaseSeq : ''} (${progress})`
}

function tellsOf({ cause, kind, agent }: OpenIncident, task: Task, holder: string): boolean {
  if (OF_ALL.includes(kind) || agent === holder) return true
  if (isLeased(task.state) && cause === 'task_stalled:many') return true
  return [`task_stranded:${task.role ?? 'any'}`, `task_stalled:${task.id}@${task.epoch}`].includes(cause)
}

/** Whoever comes to its end by its attempts is ended by a watchdog: while none looks, a task may be begun once more. */
export function attemptsAreBounded(parts: RuleParts): Rule {
  const { timeline, history, settings, witness } = parts
  const sight = new Sight(parts)
  let seenSince = 0
  const starts = new Map<string, { readonly count: number; readonly at: number }>()
  return {
    onTick: () => {
      seenSince = sight.look(witness.openIncidents())
    },
    onStarted: ({ task: { id }, isPlaceWell }) => {
      if (!isPlaceWell) return // that is not the task's fault
      const { now } = timeline
      const { count, at } = starts.get(id) ?? { count: 0, at: now }
      const isOver = count >= settings.watch.attemptsMax
      starts.set(id, { count: isOver ? count : count + 1, at: now })
      if (isOver && seenSince < at) history.violate('attempts are bounded', `${id} was begun ${count + 1} times`)
    },
  }
}

/** Since when some watchdog has seen the fleet without a gap. */
class Sight {
  readonly #parts: RuleParts
  #since = new Map<Life, number>()

  constructor(parts: RuleParts) {
    this.#parts = parts
  }

  look(incidents: readonly OpenIncident[]): number {
    const { timeline, bridge, watchmen, clocks } = this.#parts
    const isDark = bridge.life.isDead || bridge.life.isStopped || bridge.isAsleep
    const seeing = watchmen.flatMap(({ life, machine }) => {
      return life === null || life.isStopped || machine.isSuspended ? [] : [life]
    })
    const before = isDark || incidents.some(({ kind }) => OF_ALL.includes(kind)) ? new Map<Life, number>() : this.#since
    this.#since = new Map(seeing.map((life) => [life, before.get(life) ?? timeline.now]))
    const first = Math.min(timeline.now, ...this.#since.values())
    return Math.max(first, clocks.steppedAt() ?? 0)
  }
}
