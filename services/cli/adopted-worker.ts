import { UsageError } from '#console/failure.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { type NewInvitation, workerNamed } from '#fleet/worker.ts'
import { closest } from '#runtime/read-settings.ts'
import { role } from './option-parsers.ts'

/** The conversation of this id among the open ones; one of its sessions names it too. Throws `not_found` with the nearest id. */
export function conversationCalled(text: string, open: readonly Conversation[]): Conversation {
  const id = /^[^/]*/.exec(text)?.[0]
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

/** The number of the worker in a role of the Python bridge's agents, such as `worker-3-tests`. */
function workerNumberIn(text: string): string | null {
  return /(?<!\p{L})worker[-_ ]?0*([1-9]\d{0,6})(?!\d)/iu.exec(text)?.[1] ?? null
}

function roleOfEnd(session: string, text: string): string {
  try {
    return role(text)
  } catch {
    throw new UsageError(`the role of ${session} cannot be a worker's`, 'add --role, for example --role tests')
  }
}
