import type { Conversation } from './conversation.ts'
import { S2Error } from './errors.ts'
import type { MessageDraft } from './message.ts'
import { conversationOf, isObserver, ORCHESTRATOR, partnerOf, type SessionId, sessionId, sideOf } from './session-id.ts'
import { isTaskAction, mayBeTaskMessage } from './task-messages.ts'
import type { AgentVerdict, Verdict } from './verdict.ts'

/**
 * Which agents of its fleet a worker may write to beside its orchestrator: every one, those of its own role, or none. An
 * orchestrator writes to all that it leads, whatever the rule.
 */
export const PEER_RULES = ['all', 'role', 'none'] as const
export type PeerRule = (typeof PEER_RULES)[number]

/** Whom a message is for: one agent by its name, or every agent of a role but the one that writes. */
export type Addressee = { readonly agent: string } | { readonly role: string }

/** A session that a message goes to, and who wrote it where that is not the other end of its conversation. */
export interface Recipient {
  readonly to: SessionId
  readonly writer: Writer | null
}

/** Who wrote a message that lies in another conversation than the writer's own. */
export interface Writer {
  readonly session: SessionId
  /** Its name; null where the same agent has the other end of the conversation that the message lies in. */
  readonly agent: string | null
}

/** An agent of a fleet, as the others may see it. */
export interface FleetAgent {
  readonly agent: string
  readonly role: string
  /** Whether it hands out the work. */
  readonly leads: boolean
  /** What the watchdog thinks of it; null where it has said nothing. */
  readonly verdict: Verdict | null
  /** Where its messages lie; null where whoever asks is not to know. */
  readonly session: SessionId | null
}

/** Somebody that a session may write to: an end of a live conversation of its fleet. */
interface Reader {
  readonly agent: string
  readonly role: string
  readonly leads: boolean
  readonly session: SessionId
}

/**
 * Where a message of this session goes: into the newest conversation of each agent that is meant. A fleet is what one
 * orchestrator's agent leads, so that two that share a bridge never hear of each other. Throws `not_found`, `invalid`.
 */
export function recipientsOf(from: SessionId, to: Addressee, conversations: readonly Conversation[]): Recipient[] {
  return recipientsAmong(from, to, readersFor(from, conversations, 'all'), ownOf(from, conversations))
}

/** The same for a session that the rule binds. Throws `forbidden` where the rule leaves out all who are meant. */
export function allowedRecipients(
  rule: PeerRule,
  from: SessionId,
  to: Addressee,
  conversations: readonly Conversation[],
): Recipient[] {
  const own = ownOf(from, conversations)
  const readers = readersFor(from, conversations, rule)
  if (rule === 'all' || sideOf(from) === 'a' || meantAmong(from, to, readers, own).length > 0)
    return recipientsAmong(from, to, readers, own)
  const whom = rule === 'none' ? 'its orchestrator' : 'its orchestrator and to agents of its own role'
  throw new S2Error('forbidden', `the rules of this fleet let ${own.agents.b} write to ${whom} only`, {
    next: `ask ${own.agents.a} to pass it on; S2_PEER_MESSAGES of the bridge is the rule`,
  })
}

/** Whom a session may write to by the rule, and itself. */
export function agentsFor(
  rule: PeerRule,
  self: SessionId,
  conversations: readonly Conversation[],
  verdicts: readonly AgentVerdict[],
): FleetAgent[] {
  const own = ownOf(self, conversations)
  const isLead = sideOf(self) === 'a'
  const itself = { agent: own.agents.b, role: own.roles.b, leads: false, session: sessionId(own.id, 'b') }
  const lead = { agent: own.agents.a, role: own.roles.a, leads: true, session: sessionId(own.id, 'a') }
  const seen = [lead, ...(isLead ? [] : [itself]), ...readersFor(self, conversations, rule)]
  const known = seen.map((reader) => (isLead ? reader : { ...reader, session: null }))
  return withVerdicts(known, verdicts)
}

/** All agents of live conversations. */
export function allAgents(conversations: readonly Conversation[], verdicts: readonly AgentVerdict[]): FleetAgent[] {
  const live = conversations.filter(({ id }) => !isObserver(id)).toReversed()
  const ends = live.flatMap(({ id, agents, roles }) =>
    (['a', 'b'] as const).map((side) => ({
      agent: agents[side],
      role: roles[side],
      leads: side === 'a',
      session: sessionId(id, side),
    })),
  )
  return withVerdicts(ends, verdicts)
}

/** One of each name, the first that is told: leaders before the others, and these by name. */
function withVerdicts(
  readers: readonly Omit<FleetAgent, 'verdict'>[],
  verdicts: readonly AgentVerdict[],
): FleetAgent[] {
  const known = new Map(verdicts.map(({ agent, verdict }) => [agent, verdict]))
  const byName = new Map<string, FleetAgent>()
  for (const { agent, role, leads, session } of readers)
    if (!byName.has(agent)) byName.set(agent, { agent, role, leads, verdict: known.get(agent) ?? null, session })
  return [...byName.values()].sort(
    (one, other) => Number(other.leads) - Number(one.leads) || one.agent.localeCompare(other.agent),
  )
}

/**
 * Refuses a message about a task from one worker to another: only an orchestrator and its worker speak of tasks, and a reader of
 * the Python bridge does not see who wrote.
 */
export function checkPost(draft: MessageDraft, recipients: readonly Recipient[]): void {
  const isOfPeer = recipients.some(({ writer }) => writer !== null && writer.agent !== null)
  if (!isOfPeer || !(mayBeTaskMessage(draft.text) || isTaskAction(draft.action))) return
  throw new S2Error('forbidden', 'a message about a task goes between an orchestrator and its worker only', {
    next: 'say it in plain words, or ask the orchestrator to give the task',
  })
}

function recipientsAmong(from: SessionId, to: Addressee, readers: readonly Reader[], own: Conversation): Recipient[] {
  const meant = meantAmong(from, to, readers, own)
  if (meant.length === 0) throw nobody(from, to, own)
  return meant.map(({ session }) => ({ to: session, writer: writerOf(from, session, own) }))
}

function meantAmong(from: SessionId, to: Addressee, readers: readonly Reader[], own: Conversation): Reader[] {
  if ('role' in to) return readers.filter(({ role }) => role === to.role)
  const named = readers.find(({ agent }) => agent === to.agent)
  if (named !== undefined) return [named]
  // a worker's orchestrator is its partner, whatever that one is called
  const isPartner = sideOf(from) === 'b' && (to.agent === ORCHESTRATOR || to.agent === own.roles.a)
  return isPartner ? readers.filter(({ session }) => session === partnerOf(from)) : []
}

/** Those that a session may write to, one of each name; the partner of a worker, and of each other agent its newest conversation. */
function readersFor(from: SessionId, conversations: readonly Conversation[], rule: PeerRule): Reader[] {
  const own = ownOf(from, conversations)
  const fleet = conversations.filter(({ id, agents }) => !isObserver(id) && agents.a === own.agents.a).toReversed()
  const workers = fleet.map(({ id, agents, roles }) => ({
    agent: agents.b,
    role: roles.b,
    leads: false,
    session: sessionId(id, 'b'),
  }))
  const byName = new Map<string, Reader>()
  for (const worker of workers) if (!byName.has(worker.agent)) byName.set(worker.agent, worker)
  if (sideOf(from) === 'a') {
    byName.set(own.agents.b, { agent: own.agents.b, role: own.roles.b, leads: false, session: partnerOf(from) })
    return [...byName.values()]
  }
  byName.delete(own.agents.b)
  const lead = { agent: own.agents.a, role: own.roles.a, leads: true, session: partnerOf(from) }
  return [
    lead,
    ...[...byName.values()].filter(({ role }) => rule === 'all' || (rule === 'role' && role === own.roles.b)),
  ]
}

function writerOf(from: SessionId, to: SessionId, own: Conversation): Writer | null {
  if (partnerOf(to) === from) return null
  return { session: from, agent: sideOf(from) === 'a' ? null : own.agents.b }
}

function ownOf(from: SessionId, conversations: readonly Conversation[]): Conversation {
  const own = conversations.find(({ id }) => id === conversationOf(from))
  if (own !== undefined && !isObserver(own.id)) return own
  throw new S2Error('expired', `conversation ${conversationOf(from)} has ended, or never was`, {
    next: 'open a new one: s2 conversation create',
  })
}

function nobody(from: SessionId, to: Addressee, own: Conversation): S2Error {
  const [what, name] = 'role' in to ? ['other agent of the role', to.role] : ['agent called', to.agent]
  if (name === own.agents[sideOf(from)] && 'agent' in to)
    return new S2Error('invalid', `${name} would write to itself`, { next: 'name another agent' })
  return new S2Error('not_found', `there is no ${what} ${JSON.stringify(name.slice(0, 200))} in this fleet`, {
    next: '`s2 agent list`, or the tool list_agents, names those that there are',
  })
}
