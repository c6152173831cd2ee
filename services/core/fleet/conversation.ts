import { textHead } from './cut-text.ts'
import { isObserver, type SessionId, type Side, sessionId } from './session-id.ts'

/** A channel of two sessions. Times are milliseconds since 1970, UTC. */
export interface Conversation {
  readonly id: string
  readonly roles: Readonly<Record<Side, string>>
  /** The agent of each session. Foreign conversations name none, so the session id stands in. */
  readonly agents: Readonly<Record<Side, string>>
  readonly createdAt: number
  readonly expiresAt: number
}

export interface NewConversation {
  readonly roles: Readonly<Record<Side, string>>
  readonly agents: Readonly<Record<Side, string>>
  /** How long it lives unless renewed, milliseconds. */
  readonly lifetimeMs: number
  /** Its worker's end only reads. */
  readonly isForObserver?: boolean
}

/** A new conversation with its tokens, which no other answer carries. */
export interface OpenedConversation extends Conversation {
  readonly tokens: Readonly<Record<Side, string>>
}

/** Characters of a role. Foreign writers may call one anything: no list, page or alert is longer for it. */
const ROLE_MAX = 200

/** A role as a foreign writer has it, cut to what a role of S2 may be. */
export function roleHead(role: string): string {
  return textHead(role, ROLE_MAX)
}

/** A program of the fleet with one or more sessions. */
export interface Agent {
  readonly name: string
  readonly role: string
  readonly sessions: readonly SessionId[]
}

/** Each session of live conversations, as an agent with that one session; observers are none. */
export function* endsOf(conversations: Iterable<Conversation>): Generator<Agent> {
  for (const { id, agents, roles } of conversations) {
    if (isObserver(id)) continue
    for (const side of ['a', 'b'] as const) {
      yield { name: agents[side], role: roles[side], sessions: [sessionId(id, side)] }
    }
  }
}

/** The agents of live conversations; an agent with several sessions has the role of its first one. */
export function agentsOf(conversations: Iterable<Conversation>): Agent[] {
  const byName = new Map<string, Agent & { readonly sessions: SessionId[] }>()
  for (const { name, role, sessions } of endsOf(conversations)) {
    const agent = byName.get(name)
    if (agent === undefined) byName.set(name, { name, role, sessions: [...sessions] })
    else agent.sessions.push(...sessions)
  }
  return [...byName.values()]
}

/** Finds the name of a session's agent; an unknown session keeps its id. */
export function agentNames(conversations: Iterable<Conversation>): (session: string) => string {
  const names = new Map<string, string>()
  for (const { name, sessions } of endsOf(conversations)) for (const session of sessions) names.set(session, name)
  return (session) => names.get(session) ?? session
}
