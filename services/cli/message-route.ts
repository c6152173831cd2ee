import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { reachFleet } from '#console/store-access.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Addressee } from '#fleet/peer-messages.ts'
import {
  conversationOf,
  ORCHESTRATOR,
  parseSession,
  partnerOf,
  type SessionId,
  sessionId,
  sideOf,
} from '#fleet/session-id.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import { closest } from '#runtime/read-settings.ts'
import type { Store } from '#store/store.ts'

/** Whom a message is for, as it was said on the command line. */
export interface Wanted {
  /** An agent, a role, a conversation, or a session of one; null where `role` says it. */
  readonly to: string | null
  /** All agents of a role. */
  readonly role: string | null
  /** The session to send as, where somebody said which. */
  readonly from: string | undefined
}

/** The session that sends; `to` is null for its partner. */
export interface Route {
  readonly from: SessionId
  readonly to: Addressee | null
}

/**
 * The way of a message from one of this host's sessions. A name is looked up at the bridge; while that is away, the only session
 * leaves it to the bridge to know the name.
 */
export async function routeFromHost(
  context: CommandContext,
  wanted: Wanted,
  own: readonly SessionId[],
): Promise<Route> {
  const { to, role, from } = wanted
  if (role !== null) return { from: speakerAmong(own, from), to: { role } }
  const name = to as string
  const [only] = own
  const named = own.find(
    (session) => name === session || name === partnerOf(session) || name === conversationOf(session),
  )
  if (from === undefined && named !== undefined) return { from: named, to: null }
  const isName = !name.includes('/') && !name.startsWith('conv_')
  const alone = from === undefined && own.length === 1 && isName ? only : undefined
  if (alone !== undefined && sideOf(alone) === 'b' && name === ORCHESTRATOR) return { from: alone, to: null }
  await using reached = await reachFleet(context)
  const asked = reached.store.conversations()
  const known = alone === undefined ? await asked : await withinAMoment(asked, context)
  if (known === null) return { from: alone as SessionId, to: { agent: name } }
  // The administration may send for sessions whose credentials lie elsewhere, such as those of the Python bridge's agents.
  const isOurs = reached.as === 'session' || leading(name, known, own).some(({ session }) => own.includes(session))
  return await routeInFleet(reached.store, wanted, known, isOurs ? own : null)
}

/** The way of a message in a fleet that can be asked. `own` are the sessions that may be used; null: all. */
export async function routeInFleet(
  store: Pick<Store, 'listAgents'>,
  { to, role, from }: Wanted,
  conversations: readonly Conversation[],
  own: readonly SessionId[] | null,
): Promise<Route> {
  const all = own ?? conversations.map(({ id }) => sessionId(id, 'a'))
  if (role !== null) return { from: speakerAmong(all, from), to: { role } }
  const name = to as string
  const mine = leading(name, conversations, own).map(({ session }) => session)
  const isPartner = from === undefined ? mine.length > 0 : mine.some((session) => session === from)
  const writer = from ?? own?.find((session) => sideOf(session) === 'b')
  if (!isPartner && writer !== undefined && (await isPeer(store, name)))
    return { from: asSession(writer), to: { agent: name } }
  return { from: chooseSender(name, conversations, own, from), to: null }
}

/** A bridge of an earlier version knows no other agents. */
async function isPeer(store: Pick<Store, 'listAgents'>, name: string): Promise<boolean> {
  try {
    return (await store.listAgents()).some(({ agent }) => agent === name)
  } catch (error) {
    if (error instanceof S2Error && error.code === 'not_found') return false
    throw error
  }
}

/** Who writes to a role. Any session of an orchestrator does for all that it leads. */
function speakerAmong(own: readonly SessionId[], from: string | undefined): SessionId {
  if (from !== undefined) return asSession(from)
  const [first, ...others] = own
  if (first !== undefined && (others.length === 0 || own.every((session) => sideOf(session) === 'a'))) return first
  throw new UsageError(
    `nothing was sent: ${own.length} sessions could send it`,
    `name the sending session with --from: ${own.slice(0, 8).join(', ')}`,
  )
}

function asSession(text: string): SessionId {
  const { conversation, side } = parseSession(text)
  return sessionId(conversation, side)
}

/** The answer; null where the bridge is away or does not accept our credential just now, and the outbox keeps the message. */
async function withinAMoment<T>(asked: Promise<T>, { clock }: CommandContext): Promise<T | null> {
  try {
    const answer = await waitAtMost(asked, ASK_MS, clock)
    return answer === LATE ? null : answer
  } catch (error) {
    if (error instanceof S2Error) return null
    throw error
  }
}

/** How long the bridge is waited for to look a name up, before the message goes to the only possible partner. */
const ASK_MS = 2_000

/**
 * The session that sends to `to`: an agent, a conversation, or one of its sessions. `own` are the sessions that may be used;
 * null: all. Throws `forbidden`, `not_found`, or `UsageError` where several fit.
 */
function chooseSender(
  to: string,
  conversations: readonly Conversation[],
  own: readonly SessionId[] | null,
  from: string | undefined,
): SessionId {
  if (from !== undefined) return asSession(from)
  const isMine = ({ session }: End): boolean => own === null || own.includes(session)
  const mine = speakersIn(conversations).filter(isMine)
  const all = leading(to, conversations, own)
  const matching = all.filter(isMine)
  const [chosen, ...others] = matching
  if (chosen === undefined && all.length > 0) {
    const sessions = all.map(({ session }) => session).join(', ')
    throw new S2Error('forbidden', `nothing was sent: no credential of this host speaks to ${JSON.stringify(to)}`, {
      next: `send from where the credential of ${sessions} is`,
    })
  }
  if (chosen === undefined) {
    if (to.startsWith('conv_')) {
      throw new S2Error('not_found', `nothing was sent: there is no live conversation ${JSON.stringify(to)}`, {
        next: 'it has ended, or never was: `s2 conversation list` shows those that live, `s2 conversation create` opens one',
      })
    }
    const near = closest(to, [...new Set(mine.flatMap(({ reader, role }) => [reader, role]))])
    throw new S2Error('not_found', `nothing was sent: no agent or session here is called ${JSON.stringify(to)}`, {
      next: near === undefined ? '`s2 conversation list` shows possible receivers' : `did you mean ${near}?`,
    })
  }
  if (others.length > 0) {
    const choices = matching.map(({ session, speaker, reader }) => `${session} (${speaker} to ${reader})`)
    throw new UsageError(
      `nothing was sent: ${matching.length} conversations lead to ${to}`,
      `name the sending session with --from: ${choices.slice(0, 8).join(', ')}`,
    )
  }
  return chosen.session
}

/** A session that may send in a conversation, and the agent that receives it. */
interface End {
  readonly session: SessionId
  readonly conversation: string
  readonly speaker: string
  readonly reader: string
  readonly role: string
}

function speakersIn(conversations: readonly Conversation[]): End[] {
  return conversations.flatMap(({ id, agents, roles }) => [
    { session: sessionId(id, 'a'), reader: agents.b, role: roles.b, conversation: id, speaker: agents.a },
    { session: sessionId(id, 'b'), reader: agents.a, role: roles.a, conversation: id, speaker: agents.b },
  ])
}

/** The sessions from which `to` can be reached. A worker's orchestrator is its partner, whatever another bridge calls that. */
function leading(to: string, conversations: readonly Conversation[], own: readonly SessionId[] | null): End[] {
  return speakersIn(conversations).filter(
    ({ session, reader, role, conversation }) =>
      to === reader ||
      to === role ||
      to === partnerOf(session) ||
      (to === ORCHESTRATOR && own !== null && sideOf(session) === 'b') ||
      (to === conversation && (own !== null || session.endsWith('/a'))),
  )
}
