import type { AuditedAct } from '#fleet/audit.ts'
import { hashOfSecret } from '#fleet/credential.ts'
import { textHead } from '#fleet/cut-text.ts'
import { S2Error } from '#fleet/errors.ts'
import { PUBLIC_KEY, RECIPIENT } from '#fleet/identity.ts'
import { conversationOf, isObserver, ORCHESTRATOR, type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import {
  type Admission,
  cleanRefusal,
  demandWorkerName,
  JOIN_REQUEST_MAX,
  JOIN_REQUEST_MS,
  JOIN_REQUESTS_MAX,
  type JoinOutcome,
  type JoinRequest,
  joinRequestId,
  type NewInvitation,
  serialAfter,
  type Worker,
} from '#fleet/worker.ts'
import type { Clock } from '#runtime/clock.ts'
import type { ConversationTokens } from './conversation-tokens.ts'

/** An invitation as it is kept. */
export interface InvitationRow extends NewInvitation {
  /** The key of the host that used it. */
  readonly usedBy: string | null
}

/** A request to join as it is kept; its content goes when it is settled. */
export interface JoinRequestRow {
  readonly id: string
  readonly sealed: string | null
  readonly at: number
  readonly state: Exclude<JoinOutcome['state'], 'unknown'>
  readonly why: string | null
}

/** Where the registry is kept: a table of a database, or memory. Each call is one step of the verb that makes it. */
export interface WorkerRows {
  workers(): Worker[]
  putWorker(worker: Worker): void
  removeWorker(agent: string): void
  file(agent: string): string | null
  putFile(agent: string, file: string | null): void
  invitation(secretHash: string): InvitationRow | null
  putInvitation(invitation: InvitationRow): void
  requests(): JoinRequestRow[]
  putRequest(request: JoinRequestRow): void
  removeRequest(id: string): void
  /** Removes invitations that ended before this time. */
  forgetInvitations(before: number): void
  removeInvitations(agent: string): void
  /** Those that no host has used. */
  removeUnusedInvitations(agent: string): void
}

export interface WorkerRegistryParts {
  readonly rows: WorkerRows
  readonly conversations: ConversationTokens
  readonly clock: Clock
  audit(act: AuditedAct): void
}

/**
 * Which workers belong to the fleet, by which keys, and which credential each shall have: the rules, whatever they are kept
 * in. A worker keeps its conversation for as long as it belongs to the fleet: a lapsed one is revived with new tokens, so
 * that mail, tasks and unsent messages need no successor. Only revoking ends it.
 */
export class WorkerRegistry {
  readonly #parts: WorkerRegistryParts

  constructor(parts: WorkerRegistryParts) {
    this.#parts = parts
  }

  workers(): Worker[] {
    return this.#parts.rows.workers()
  }

  inviteWorker(invitation: NewInvitation): Worker {
    const { rows, clock } = this.#parts
    const { agent, role, endsAt } = invitation
    demandWorkerName(agent)
    rows.forgetInvitations(clock.wall() - JOIN_REQUEST_MS)
    const known = this.#find(agent) ?? unjoined(agent, role)
    const worker = { ...this.#behind(invitation, known), invitedUntil: endsAt }
    rows.putWorker(worker)
    rows.removeUnusedInvitations(agent)
    rows.putInvitation({ ...invitation, usedBy: null })
    this.#audit('worker_invited', { agent, role, endsAt })
    return worker
  }

  admitWorker(admission: Admission): Worker {
    const { agent, key, recipient, secretHash } = admission
    const { rows } = this.#parts
    demandWorkerName(agent)
    if (!PUBLIC_KEY.test(key) || !RECIPIENT.test(recipient))
      throw new S2Error('invalid', 'a worker is admitted with a key and a recipient')
    const known = this.#find(agent)
    const invitation = secretHash === null ? null : this.#usable(secretHash, admission, known)
    const role = invitation?.role ?? admission.role ?? known?.role
    if (role === undefined) throw new S2Error('invalid', `no role is given for ${agent}`, { next: 'name one: --role' })
    const holder = rows.workers().find((each) => each.key === key && each.agent !== agent)
    if (holder !== undefined && holder.revokedAt === null)
      throw new S2Error('conflict', `the key of this host is that of ${holder.agent} already`, {
        next: `revoke ${holder.agent}, or join from a state folder of its own`,
      })
    if (holder !== undefined) rows.putWorker({ ...holder, key: null, recipient: null })
    const isUsedAgain = invitation !== null && invitation.usedBy !== null
    if (invitation !== null) rows.putInvitation({ ...invitation, usedBy: key })
    if (!isUsedAgain) rows.removeUnusedInvitations(agent)
    if (known !== undefined && known.key === key && known.role === role && this.#isInForce(known)) {
      if (isUsedAgain || known.invitedUntil === null) return known
      rows.putWorker({ ...known, invitedUntil: null })
      return { ...known, invitedUntil: null }
    }
    const admitted = this.#withConversation(known ?? unjoined(agent, role), role, admission)
    rows.putWorker(admitted)
    this.#audit('worker_admitted', { agent, role, key, conversation: admitted.conversation })
    return admitted
  }

  /** Gives both ends of its conversation new tokens, revived if need be. */
  issueTokens(agent: string, overlapMs: number, lifetimeMs: number): Worker {
    const { rows, conversations, clock } = this.#parts
    const worker = this.#demandJoined(agent)
    const { conversation } = worker
    const wasAlive = conversations.revive(conversation, lifetimeMs)
    this.#rotateTokens(conversation, wasAlive ? overlapMs : 0)
    const issued = { ...worker, serial: serialAfter(worker.serial, clock.wall()) }
    rows.putWorker(issued)
    return issued
  }

  revokeWorker(agent: string): Worker {
    const { rows, conversations, clock } = this.#parts
    const worker = this.#demand(agent)
    if (worker.revokedAt !== null) return worker
    // One that it was to have is not its own before it has joined.
    const conversation = worker.joinedAt === null ? null : worker.conversation
    if (conversation !== null) conversations.endConversation(conversation)
    const revoked = { ...worker, conversation, revokedAt: clock.wall(), invitedUntil: null, refusal: null }
    rows.putWorker(revoked)
    rows.putFile(agent, null)
    rows.removeInvitations(agent)
    this.#audit('worker_revoked', { agent, conversation })
    return revoked
  }

  renameWorker(agent: string, changes: { readonly agent?: string; readonly role?: string }): Worker {
    const { rows, conversations, clock } = this.#parts
    const worker = this.#demand(agent)
    const renamed = { ...worker, agent: changes.agent ?? agent, role: changes.role ?? worker.role }
    demandWorkerName(renamed.agent)
    if (renamed.agent !== agent && this.#find(renamed.agent) !== undefined)
      throw new S2Error('conflict', `there is a worker ${renamed.agent} already`, { next: 'choose another name' })
    if (renamed.agent === agent && renamed.role === worker.role) return worker
    const { conversation } = worker
    const hasJoined = worker.joinedAt !== null && conversation !== null
    if (hasJoined) conversations.nameWorker(conversation, renamed.agent, renamed.role)
    const invitedUntil = renamed.agent === agent ? worker.invitedUntil : null
    const after = {
      ...renamed,
      invitedUntil,
      serial: worker.serial === 0 ? 0 : serialAfter(worker.serial, clock.wall()),
    }
    // Until its new credential is made, its host finds the one before.
    const file = rows.file(agent)
    rows.removeWorker(agent)
    rows.putWorker(after)
    rows.putFile(after.agent, file)
    if (after.agent !== agent) rows.removeInvitations(agent)
    this.#audit('worker_renamed', { from: agent, agent: after.agent, role: after.role })
    return after
  }

  /** A credential was published; an older one than is known changes nothing. */
  notePublished(agent: string, serial: number, file: string): void {
    const { rows } = this.#parts
    const worker = this.#find(agent)
    if (worker === undefined || worker.revokedAt !== null || serial < worker.published) return
    rows.putWorker({ ...worker, published: serial })
    rows.putFile(agent, file)
  }

  /** The sealed credential of the worker with this key; null where there is none, or it was revoked. */
  publishedCredential(key: string): string | null {
    const { rows } = this.#parts
    const worker = rows.workers().find((each) => each.key === key && each.revokedAt === null)
    return worker === undefined ? null : rows.file(worker.agent)
  }

  /** The session has its newest token in force, so the one before ends now. */
  confirmToken(session: SessionId, tokenHash: string): void {
    const { conversations } = this.#parts
    const [newest, ...former] = conversations.tokens(session)
    if (newest === undefined || former.length === 0 || hashOfSecret(newest) !== tokenHash) return
    conversations.endFormerToken(session)
    this.#audit('token_confirmed', { session })
  }

  /** The host of this session refuses what is published for it, or, with null, does so no more. */
  noteRefusal(session: SessionId, why: string | null): void {
    const { rows } = this.#parts
    const worker = rows.workers().find(({ conversation }) => conversation === conversationOf(session))
    const refusal = why === null ? null : cleanRefusal(why)
    if (worker === undefined || sideOf(session) !== 'b' || worker.refusal === refusal) return
    rows.putWorker({ ...worker, refusal })
    // The same trouble in other words is no act: a host that finds new ones must not fill the trail.
    if ((worker.refusal === null) === (refusal === null)) return
    const action = refusal === null ? 'credential_accepted' : 'credential_refused'
    this.#parts.audit({ actor: session, action, details: { agent: worker.agent, why: refusal } })
  }

  submitJoin(sealed: string): string {
    const { rows, clock } = this.#parts
    if (sealed.length > JOIN_REQUEST_MAX)
      throw new S2Error('too_large', `a request to join may have ${JOIN_REQUEST_MAX} characters`)
    const id = joinRequestId(sealed)
    if (rows.requests().some((each) => each.id === id)) return id
    this.#keepRequest({ id, sealed, at: clock.wall(), state: 'waiting', why: null })
    return id
  }

  joinRequests(): JoinRequest[] {
    const waiting = this.#parts.rows.requests().filter(({ state }) => state === 'waiting')
    return waiting.flatMap(({ id, sealed, at }) => (sealed === null ? [] : [{ id, sealed, at }]))
  }

  settleJoin(id: string, state: 'admitted' | 'refused', why: string | null): void {
    if (this.#parts.rows.requests().some((each) => each.id === id && each.state !== 'waiting')) return
    this.#keepRequest({
      id,
      sealed: null,
      at: this.#parts.clock.wall(),
      state,
      why: why === null ? null : textHead(why, 300),
    })
  }

  joinOutcome(id: string): JoinOutcome {
    const found = this.#parts.rows.requests().find((each) => each.id === id)
    return found === undefined ? { state: 'unknown', why: null } : { state: found.state, why: found.why }
  }

  /** Keeps a request beside those of the last day. Of more than JOIN_REQUESTS_MAX those go that were refused, the oldest first, and then the oldest of the others. */
  #keepRequest(request: JoinRequestRow): void {
    const { rows } = this.#parts
    const others = rows.requests().filter(({ id }) => id !== request.id)
    const rank = ({ state }: JoinRequestRow): number => (state === 'refused' ? 0 : 1)
    const young = others
      .filter(({ at }) => request.at - at <= JOIN_REQUEST_MS)
      .sort((one, other) => rank(one) - rank(other) || one.at - other.at)
    const kept = new Set(young.slice(Math.max(0, young.length - JOIN_REQUESTS_MAX + 1)))
    for (const each of others) if (!kept.has(each)) rows.removeRequest(each.id)
    rows.putRequest(request)
  }

  /**
   * The invitation that lets this host in. A used one answers the host that used it again, because an answer may be lost, but
   * only while that host is the worker: a line lets nobody back in who was revoked or replaced.
   */
  #usable(secretHash: string, { agent, key }: Admission, known: Worker | undefined): InvitationRow {
    const { rows, clock } = this.#parts
    const invitation = rows.invitation(secretHash)
    const next = 'invite it again: s2 worker invite'
    if (invitation === null || invitation.agent !== agent)
      throw new S2Error('forbidden', `there is no such invitation of ${agent}`, { next })
    if (invitation.usedBy === null && invitation.endsAt <= clock.wall())
      throw new S2Error('expired', `the invitation of ${agent} has ended`, { next })
    const { usedBy } = invitation
    if (usedBy !== null && usedBy !== key)
      throw new S2Error('conflict', `this invitation of ${agent} was used by another host already`, { next })
    if (usedBy !== null && known?.key !== key)
      throw new S2Error('conflict', `this invitation of ${agent} was used, and another host is ${agent} now`, { next })
    return invitation
  }

  /**
   * The worker with the conversation that its invitation names, which lives for as long as the invitation counts. The other end
   * is nobody of this fleet: its agent has its token from another bridge, and nothing brings it a new one.
   */
  #behind({ agent, role, conversation, endsAt }: NewInvitation, worker: Worker): Worker {
    if (conversation === undefined) return worker
    const { conversations, clock } = this.#parts
    this.#demandFree(conversation, worker)
    conversations.disown(sessionId(conversation, 'a'))
    conversations.revive(conversation, endsAt - clock.wall())
    this.#audit('conversation_adopted', { agent, conversation })
    const { serial, published } = worker
    return { ...unjoined(agent, role), serial, published, conversation }
  }

  /** Throws where a worker cannot take the end b of a conversation. */
  #demandFree(conversation: string, { agent, joinedAt, revokedAt }: Worker): void {
    const { rows, conversations } = this.#parts
    if (isObserver(conversation))
      throw new S2Error('invalid', `${conversation} is that of an observer, which only reads`, {
        next: 'name a conversation of two agents: s2 conversation list',
      })
    conversations.demandLive(conversation)
    const holder = rows.workers().find((each) => each.conversation === conversation && each.revokedAt === null)
    if (holder !== undefined && (holder.agent !== agent || joinedAt !== null))
      throw new S2Error('conflict', `${conversation} is that of ${holder.agent} already`, {
        next: `for a new host of it: s2 worker invite ${holder.agent}`,
      })
    if (joinedAt !== null && revokedAt === null)
      throw new S2Error('conflict', `${agent} has a conversation of its own`, {
        next: 'name another worker, or revoke this one first',
      })
    if (conversations.endOf(sessionId(conversation, 'a'))?.agent === ORCHESTRATOR)
      throw new S2Error('conflict', `${conversation} was made by S2 for its own ${ORCHESTRATOR}`, {
        next: `let a worker have a conversation of its own: s2 worker invite ${agent}`,
      })
  }

  /** New tokens for those ends of a conversation that are of this fleet. */
  #rotateTokens(conversation: string, overlapMs: number): void {
    const { conversations } = this.#parts
    for (const side of ['a', 'b'] as const) {
      const session = sessionId(conversation, side)
      if (conversations.endOf(session)?.agent !== session) conversations.rotateToken(session, overlapMs)
    }
  }

  /** The worker with a living conversation and tokens that nobody else has. */
  #withConversation(worker: Worker, role: string, admission: Admission): Worker {
    const { conversations, clock } = this.#parts
    const { agent, key, recipient, host, orchestrator, lifetimeMs } = admission
    const now = clock.wall()
    let { conversation } = worker
    if (conversation === null || worker.revokedAt !== null) {
      conversation = conversations.openConversation({
        roles: { a: 'orchestrator', b: role },
        agents: { a: orchestrator, b: agent },
        lifetimeMs,
      }).id
    } else {
      conversations.nameWorker(conversation, agent, role)
      conversations.revive(conversation, lifetimeMs)
      this.#rotateTokens(conversation, 0)
    }
    const serial = serialAfter(worker.serial, now)
    return {
      ...worker,
      role,
      conversation,
      key,
      recipient,
      host,
      serial,
      invitedUntil: null,
      joinedAt: now,
      revokedAt: null,
      refusal: null,
    }
  }

  #isInForce({ conversation, revokedAt }: Worker): boolean {
    return revokedAt === null && conversation !== null && this.#parts.conversations.isAlive(conversation)
  }

  #find(agent: string): Worker | undefined {
    return this.#parts.rows.workers().find((each) => each.agent === agent)
  }

  #demand(agent: string): Worker {
    const worker = this.#find(agent)
    if (worker !== undefined) return worker
    throw new S2Error('not_found', `there is no worker ${textHead(agent, 80)}`, { next: 'list them: s2 worker list' })
  }

  #demandJoined(agent: string): Worker & { readonly conversation: string } {
    const worker = this.#demand(agent)
    if (worker.revokedAt !== null)
      throw new S2Error('conflict', `${agent} was revoked`, { next: 'invite it again: s2 worker invite' })
    if (worker.conversation === null || worker.joinedAt === null)
      throw new S2Error('conflict', `${agent} has not joined yet`, {
        next: 'give its host the invitation: s2 worker invite',
      })
    return { ...worker, conversation: worker.conversation }
  }

  #audit(action: string, details: AuditedAct['details']): void {
    this.#parts.audit({ actor: 'admin', action, details })
  }
}

function unjoined(agent: string, role: string): Worker {
  return {
    agent,
    role,
    conversation: null,
    key: null,
    recipient: null,
    host: null,
    serial: 0,
    published: 0,
    invitedUntil: null,
    joinedAt: null,
    revokedAt: null,
    refusal: null,
  }
}
