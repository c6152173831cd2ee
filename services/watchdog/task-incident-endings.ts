import { isLeased } from '#fleet/task.ts'
import { areManyWithoutWork } from '#fleet/task-clocks.ts'
import type { Snapshot } from './look-snapshot.ts'
import type { OpenIncident } from './open-incidents.ts'
import { endedLimitOutcome, STALLED_TOGETHER, stalledTask } from './task-incidents.ts'

/**
 * What is over of an incident that tells of tasks, or of the places that should do them; null while its cause lasts. Only what
 * was seen ends one: that a clock began anew, with a pause or with another watchdog, shows nothing.
 */
export function endOfTaskIncident(incident: OpenIncident, snapshot: Snapshot): string | null {
  if (!snapshot.areTasksFresh) return null
  switch (incident.kind) {
    case 'task_stalled':
      return workAgain(incident, snapshot)
    case 'task_not_taken':
      return takenAgain(incident, snapshot)
    case 'sick':
    case 'parked':
      return wellAgain(incident, snapshot)
    default:
      return null
  }
}

function workAgain({ cause, agent, seenAt }: OpenIncident, snapshot: Snapshot): string | null {
  const { board, observed, openIncidents } = snapshot
  const stalled = stalledTask(cause)
  if (stalled === null) {
    return areManyWithoutWork(board.tasks, observed.fleet, board.work, seenAt) ? null : 'agents show work again'
  }
  const { id, epoch } = stalled
  const task = board.tasks.find((each) => each.id === id)
  if (task === undefined) return `task ${id} has ended`
  if (task.epoch !== epoch || !isLeased(task.state)) {
    const holder = task.holder === null ? undefined : observed.fleet.agentOf(task.holder)
    if (holder === undefined) return `task ${id} waits for another agent`
    return holder === agent
      ? `task ${id} was ended, and ${holder} is to begin it again`
      : `task ${id} went to ${holder}`
  }
  if (board.work.hasShownSince(task, seenAt)) return `task ${id} shows work again`
  return openIncidents.has(STALLED_TOGETHER)
    ? 'most agents that work stall together now, and one incident tells that'
    : null
}

/** That its tasks went to others, or ended, does not show that an agent takes any. */
function takenAgain({ agent }: OpenIncident, { board }: Snapshot): string | null {
  switch (board.work.activityOf(agent ?? '')) {
    case 'took':
      return `${agent} took a task`
    case 'showed':
      return `${agent} shows signs of work again, or was started again: it gets tasks as before`
    case null:
      return null
  }
}

/** An agent that shows work has so long to say how its place is. */
const SAID_WITHIN_MS = 60_000

/**
 * It has said so, or it works and says nothing else. That a session has said nothing shows nothing: its conversation may be new, or
 * the watchdog.
 */
function wellAgain({ agent, kind }: OpenIncident, snapshot: Snapshot): string | null {
  const { at, board, observed } = snapshot
  const name = agent ?? ''
  if (!observed.clients.isKnown(name)) return null // its client may be why
  const state = board.conditions.get(name)?.state
  if (state === 'probing' && kind === 'parked') return limitEnded(name, snapshot)
  if (state !== undefined) return state === kind || state === 'probing' ? null : `${agent} is ${state} now`
  const { signs = 0, knownSince = at, verdict } = observed.fleet.standing(name) ?? {}
  const works = verdict === 'alive' && (board.work.isBusy(name) || (signs > 0 && at - knownSince >= SAID_WITHIN_MS))
  return board.saidWell.has(name) || works ? `${agent} can work again` : null
}

/** So long no task has come by which an agent could try: where tasks come and find the limit again, it is one trouble. */
const NO_TRY_MS = 600_000

/** Its limit has ended, as far as was said, and only a task could show more. */
function limitEnded(agent: string, { at, wall, board }: Snapshot): string | null {
  const until = board.conditions.get(agent)?.until ?? null
  if (until === null || until > wall || at - (board.readyToTry.get(agent) ?? at) < NO_TRY_MS) return null
  return endedLimitOutcome(until)
}
