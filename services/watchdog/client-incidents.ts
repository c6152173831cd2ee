import { createHash } from 'node:crypto'
import type { ClientActivity } from '#fleet/client-activity.ts'
import type { NewIncident } from '#fleet/incident.ts'
import { answerablePromptIn, namedPromptIn } from '#fleet/prompt-name.ts'
import type { Task } from '#fleet/task.ts'
import type { Observed } from './fleet-observation.ts'
import { namesOf, placeOf } from './incident-texts.ts'

/** What people are told of the clients of agents. */

/** One incident a dialog, by what it asks: another dialog of the same agent is another one, whichever watchdog sees it. */
export function waitingIncidents({ fleet, clients }: Pick<Observed, 'fleet' | 'clients'>): NewIncident[] {
  return [...clients.agents()].flatMap((agent) => {
    const [standing, activity] = [fleet.standing(agent), clients.of(agent)?.activity]
    const isHere = standing?.verdict === 'alive' && activity?.state === 'waiting'
    // of before a pause of the watchdog it may be over; an incident that is open lasts
    return isHere && clients.isKnown(agent) ? [waitingIncident(agent, standing.host, activity)] : []
  })
}

function waitingIncident(agent: string, host: string | null, activity: ClientActivity): NewIncident {
  const asks = activity.what ?? 'its client shows a dialog'
  const name = answerablePromptIn(activity.what)
  const how = name === null ? 'answer it there' : `answer it there, or by s2 answer ${agent} ${name} allow|deny`
  const summary = `${agent}${placeOf(agent, host)} waits for a person: ${asks}; ${how}: until then it does nothing, gets no new task and keeps those that it has`
  return { cause: waitingCause(agent, activity), kind: 'waiting', agent, summary }
}

/** A prompt with a name stays the same one when only its terminal can answer it any more. */
export function waitingCause(agent: string, { what }: Pick<ClientActivity, 'what'>): string {
  const named = namedPromptIn(what)
  if (named !== null) return `waiting:${agent}@${named.name}`
  const asked = createHash('sha256')
    .update(what ?? '')
    .digest()
    .readUInt32BE()
  return `waiting:${agent}@${asked}`
}

/** The process of a client has ended with tasks in hand. */
export function clientGoneIncident(agent: string, tasks: readonly Pick<Task, 'id'>[], observed: Observed): NewIncident {
  const where = placeOf(agent, observed.fleet.standing(agent)?.host)
  const what = observed.clients.of(agent)?.activity.what ?? 'its process is there no more'
  const goes = tasks.length === 1 ? 'goes to another agent' : 'go to other agents'
  const summary = `the client of ${agent}${where} has ended with ${namesOf(tasks.map(({ id }) => id))} in hand (${what}), which ${goes}; its host still beats: start the client again`
  return { cause: clientGoneCause(agent), kind: 'client_gone', agent, summary }
}

export function clientGoneCause(agent: string): string {
  return `client_gone:${agent}`
}
