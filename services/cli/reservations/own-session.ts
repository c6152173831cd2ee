import type { CommandContext } from '#console/context.ts'
import type { ReachedFleet } from '#console/store-access.ts'
import { agentsOf, type Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { isObserver, type SessionId, sessionId } from '#fleet/session-id.ts'
import { closest } from '#runtime/read-settings.ts'

/** Who does something: a session that this host may speak for, and the agent that it is. */
export interface Self {
  readonly session: SessionId
  readonly agent: string
}

/**
 * The agent that a command is called by: the one that is named, the one whose task `s2 work` runs, the one whose credential this
 * host has got last, or where it has none the fleet's orchestrator. Throws `not_found`.
 */
export async function selfOf(
  reached: ReachedFleet,
  { env }: Pick<CommandContext, 'env'>,
  named?: string,
): Promise<Self> {
  const known = reached.as === 'administration' ? candidatesIn(await reached.store.conversations()) : []
  const own = [...reached.credentials.map(({ session, agent }) => ({ session, agent })), ...known]
  const wanted = named ?? env.S2_TASK_SESSION
  const found = wanted === undefined ? own[0] : own.find((each) => each.agent === wanted || each.session === wanted)
  if (found !== undefined) return found
  if (named === undefined && own[0] !== undefined) return own[0]
  throw nobody(named, own)
}

/** The orchestrator's sessions first: whoever is called so by nobody is the one that leads. */
function candidatesIn(conversations: readonly Conversation[]): Self[] {
  const led = conversations.filter(({ id }) => !isObserver(id))
  const leaders = led.map(({ id, agents }) => ({ session: sessionId(id, 'a'), agent: agents.a }))
  const others = agentsOf(led).flatMap(({ name, sessions }) => sessions.map((session) => ({ session, agent: name })))
  return [...leaders, ...others]
}

function nobody(named: string | undefined, own: readonly Self[]): S2Error {
  const names = [...new Set(own.map(({ agent }) => agent))].sort()
  if (named === undefined) {
    return new S2Error('not_found', 'the fleet has no conversation yet, so that nobody is there to reserve files', {
      next: 'let a worker join: s2 worker invite',
    })
  }
  const near = closest(named, names)
  return new S2Error('not_found', `this host does not speak for ${JSON.stringify(named)}`, {
    next: `${near === undefined ? '' : `did you mean ${near}? `}it speaks for ${names.join(', ') || 'nobody'}`,
  })
}
