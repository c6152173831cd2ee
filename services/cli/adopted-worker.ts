import { UsageError } from '#console/failure.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { type NewInvitation, workerNamed } from '#fleet/worker.ts'
import { closest } from '#runtime/read-settings.ts'
import { role } from './option-parsers.ts'

/** The conversation of this id among the open ones; its session b names it too. Throws `not_found` with the nearest id. */
export function conversationCalled(text: string, open: readonly Conversation[]): Conversation {
  const id = text.replace(/\/b$/, '')
  if (id.endsWith('/a'))
    throw new UsageError(`${text} is its orchestrator's end, and a worker takes end b`, `name ${id.slice(0, -2)}`)
  const found = open.find((each) => each.id === id)
  if (found !== undefined) return found
  const near = closest(
    text,
    open.map((each) => each.id),
  )
  throw new S2Error('not_found', `there is no open conversation ${JSON.stringify(text)}`, {
    next: near === undefined ? '`s2 conversation list` shows those that are open' : `did you mean ${near}?`,
  })
}

/** The worker at end b of a conversation of the Python bridge: as it is named, else by the role of that end. */
export function workerBehind(
  { id, roles }: Conversation,
  named: { readonly worker: string | undefined; readonly role: string | undefined },
): Pick<NewInvitation, 'agent' | 'role' | 'conversation'> {
  const worker = named.worker ?? workerNumberIn(roles.b)
  if (worker === null)
    throw new UsageError(`the role of ${id}/b names no worker's number`, `add it: s2 worker adopt ${id} 3`)
  return { agent: workerNamed(worker), role: named.role ?? roleOfEnd(`${id}/b`, roles.b), conversation: id }
}

/** A role of the Python bridge's agents, such as `worker-3-tests`, names the worker's number, and what it does after it. */
const NUMBERED = /(?<!\p{L})worker[-_ ]?0*(?<number>[1-9]\d{0,6})(?!\d)(?:[-_ ]+(?<does>\S.*))?/iu

function workerNumberIn(text: string): string | null {
  return NUMBERED.exec(text)?.groups?.number ?? null
}

function roleOfEnd(session: string, text: string): string {
  try {
    return role(NUMBERED.exec(text)?.groups?.does ?? text)
  } catch {
    throw new UsageError(`the role of ${session} cannot be a worker's`, 'add --role, for example --role tests')
  }
}
