import { agentNames } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { checkDraft, type MessageDraft, type StoredMessage } from '#fleet/message.ts'
import type { Addressee, FleetAgent } from '#fleet/peer-messages.ts'
import { RESERVED_FOR_MS, type Reservation } from '#fleet/reservation.ts'
import type { SaidStatus } from '#fleet/said-status.ts'
import { conversationOf, type SessionId, type Side } from '#fleet/session-id.ts'
import type { Task } from '#fleet/task.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import { ledSessions, servedHere } from './led-sessions.ts'
import {
  ANY_SPEAKER,
  type CheckedMail,
  type Member,
  type OpenedChannel,
  type PartnerStatus,
  type ReleaseWish,
  type ReportedTask,
  type ReservationWish,
  type SaidProgress,
  type SentMessage,
  type Speaker,
  type TakenTask,
  type TaskWish,
} from './member.ts'
import { chosenFiles, type ReadFiles } from './named-files.ts'
import { StoreMember } from './store-member.ts'

export interface LeaderMemberParts {
  /** The session that is meant where a call names none; null: any that will do. */
  readonly session: SessionId | null
  /** Who reads here: what another reader has in hand is not acked by this one. */
  reader(): Promise<string>
  readonly clock: Clock
  readonly store: Store
  readonly files: ReadFiles
}

const CONVERSATION_MS = 3 * 3_600_000
const NOBODY = 'no conversation is led from this host'

/**
 * The orchestrator on the bridge's own host: it has no credential and no inbox there, speaks as the administration, and its mail lies in
 * the database. One member for end a of all its conversations.
 */
export class LeaderMember implements Member {
  readonly #parts: LeaderMemberParts

  constructor(parts: LeaderMemberParts) {
    this.#parts = parts
  }

  async openConversation(roles: Readonly<Record<Side, string>>): Promise<OpenedChannel> {
    const wanted = { roles, agents: roles, lifetimeMs: CONVERSATION_MS }
    const { id, tokens, expiresAt } = await this.#parts.store.openConversation(wanted)
    return { conversation: id, tokens, expiresAt }
  }

  async sendToPartner(as: Speaker, draft: MessageDraft): Promise<SentMessage> {
    return await (await this.#only(as)).sendToPartner(ANY_SPEAKER, draft)
  }

  async sendTo(as: Speaker, to: Addressee, draft: MessageDraft): Promise<SentMessage> {
    checkDraft(draft)
    return await (await this.#any(as)).sendTo(ANY_SPEAKER, to, draft)
  }

  async check(as: Speaker, limit: number): Promise<CheckedMail> {
    const all = await this.#members(as)
    const messages: CheckedMail['messages'][number][] = []
    let more = 0
    for (const member of all) {
      // Once there are enough the others are not asked: what they would give is theirs until the next check.
      if (messages.length >= limit) break
      const found = await member.check(ANY_SPEAKER, limit - messages.length)
      messages.push(...found.messages)
      more += found.more
    }
    const why = all.length === 0 ? NOBODY : null
    return { messages: messages.toSorted((one, other) => one.id - other.id), more, why }
  }

  /** The messages that are not acked, oldest first, whoever has them in hand. Changes nothing. */
  async unacked(limit: number): Promise<StoredMessage[]> {
    const { store } = this.#parts
    const found: StoredMessage[] = []
    for (const session of await this.#led(ANY_SPEAKER)) found.push(...(await store.unacked(session, 0, limit)))
    return found.toSorted((one, other) => one.id - other.id).slice(0, limit)
  }

  /** Names the agents of sessions. */
  async names(): Promise<(session: string) => string> {
    return agentNames(await this.#parts.store.conversations())
  }

  async ack(as: Speaker, ids: readonly number[]): Promise<number[]> {
    const acked: number[] = []
    for (const member of await this.#members(as)) acked.push(...(await member.ack(ANY_SPEAKER, ids)))
    return acked
  }

  async partner(as: Speaker): Promise<PartnerStatus> {
    return await (await this.#only(as)).partner(ANY_SPEAKER)
  }

  async say(as: Speaker, status: SaidStatus): Promise<void> {
    for (const member of await this.#members(as)) await member.say(ANY_SPEAKER, status)
  }

  async agents(): Promise<FleetAgent[]> {
    return await this.#parts.store.listAgents()
  }

  async tasks(_: Speaker, { open, limit }: { readonly open: boolean; readonly limit: number }): Promise<Task[]> {
    return await this.#parts.store.tasks({ ...(open ? { open } : {}), limit, newest: true })
  }

  async take(as: Speaker, id: string | null): Promise<TakenTask | null> {
    return await (await this.#any(as)).take(ANY_SPEAKER, id)
  }

  async progress(as: Speaker, id: string, said: SaidProgress): Promise<ReportedTask> {
    return await (await this.#any(as)).progress(ANY_SPEAKER, id, said)
  }

  async end(as: Speaker, id: string, state: 'completed' | 'failed', words: string): Promise<ReportedTask> {
    return await (await this.#any(as)).end(ANY_SPEAKER, id, state, words)
  }

  async assign(as: Speaker, wish: TaskWish): Promise<Task> {
    return await (await this.#any(as)).assign(ANY_SPEAKER, wish)
  }

  async reserve(as: Speaker, wish: ReservationWish): Promise<Reservation[]> {
    const { mode, task, note } = wish
    const forMs = wish.forMs ?? RESERVED_FOR_MS
    const { store, files } = this.#parts
    const { repository, globs } = await files(wish.globs, wish.repository)
    const epoch = task === null ? null : (await store.task(task)).epoch
    return await store.reserveFiles(await this.#anySession(as), { globs, mode, forMs, task, note, repository, epoch })
  }

  async release(as: Speaker, which: ReleaseWish): Promise<Reservation[]> {
    const { store, files } = this.#parts
    return await store.releaseFiles(await this.#anySession(as), await chosenFiles(which, files))
  }

  async noteCall(): Promise<string[]> {
    return []
  }

  async #members(as: Speaker): Promise<StoreMember[]> {
    return await Promise.all((await this.#led(as)).map((session) => this.#memberOf(session)))
  }

  async #memberOf(session: SessionId): Promise<StoreMember> {
    const { store, clock } = this.#parts
    return new StoreMember({ session, reader: await this.#parts.reader(), store, clock })
  }

  /** Any session of the orchestrator's agent does for all that it leads. */
  async #any(as: Speaker): Promise<StoreMember> {
    return await this.#memberOf(await this.#anySession(as))
  }

  async #anySession(as: Speaker): Promise<SessionId> {
    return (await this.#sessions(as)).at(-1) as SessionId
  }

  async #only(as: Speaker): Promise<StoreMember> {
    const [only, second] = await this.#sessions(as)
    if (second === undefined) return await this.#memberOf(only as SessionId)
    throw new S2Error('invalid', 'you lead several conversations, and the call names none of them', {
      next: 'name the agent by send_message, or the conversation by conversation_id',
    })
  }

  /** The sessions that are meant, the youngest last. Throws where there is none. */
  async #sessions(as: Speaker): Promise<SessionId[]> {
    const led = await this.#led(as)
    if (led.length > 0) return led
    throw new S2Error('not_found', NOBODY, {
      next: 'let a worker join: s2 worker invite; an orchestrator on another host reads its mail there',
    })
  }

  async #led({ conversation, side, token }: Speaker): Promise<SessionId[]> {
    const { session, store, clock } = this.#parts
    if (side === 'b' || token !== null) throw onlyLeads()
    const own = await ledSessions(store)
    const meant = own.filter((each) =>
      conversation === null ? session === null || session === each : conversationOf(each) === conversation,
    )
    return await servedHere(meant, store, clock)
  }
}

function onlyLeads(): S2Error {
  return new S2Error('forbidden', 'this host speaks for the orchestrator’s end of conversations alone', {
    next: 'leave session_id and token out',
  })
}
