import { isPassing } from '#fleet/errors.ts'
import { checkDraft, type MessageDraft } from '#fleet/message.ts'
import type { Addressee, FleetAgent } from '#fleet/peer-messages.ts'
import { RESERVED_FOR_MS, type Reservation } from '#fleet/reservation.ts'
import type { SaidStatus } from '#fleet/said-status.ts'
import { ORCHESTRATOR, partnerOf, type SessionId, type Side, sideOf } from '#fleet/session-id.ts'
import type { NewTask, Task } from '#fleet/task.ts'
import { isMeantFor, readAssignmentNews } from '#fleet/task-messages.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { isKeepaliveThere } from '#runtime/program-presence.ts'
import { HeldTasks } from '#spool/held-tasks.ts'
import type { MessageTaker } from '#spool/message-taker.ts'
import { type NewOutboxItem, Outbox } from '#spool/outbox.ts'
import type { Store } from '#store/store.ts'
import type { CallingClient } from './caller.ts'
import { HostMail } from './host-mail.ts'
import { putAndWait, whyNotCarried } from './host-outbox.ts'
import { HostSessions } from './host-sessions.ts'
import { HostTasks } from './host-tasks.ts'
import { keepListAfterAct } from './keep-list.ts'
import type {
  CheckedMail,
  CheckedMessage,
  Member,
  OpenedChannel,
  PartnerStatus,
  ReleaseWish,
  ReportedTask,
  ReservationWish,
  SaidProgress,
  SentMessage,
  Speaker,
  TakenTask,
  TaskWish,
} from './member.ts'
import { chosenFiles, type ReadFiles } from './named-files.ts'
import { partnerStatus } from './partner-status.ts'
import { wishedTask } from './wished-task.ts'

export interface HostMemberParts {
  readonly state: string
  /** The session that is meant where a call names none; null: the host's only one. */
  readonly session: SessionId | null
  readonly clock: Clock
  readonly chance: Chance
  /** The fleet's store as the sessions of this host; opened when it is asked for first. */
  store(): Promise<Store>
  /** The same as the administration. Throws `forbidden` where this host has none. */
  administration(): Promise<Store>
  caller(place: string | undefined): Promise<CallingClient>
  /** Files as the agent names them, read as the commands read them: from the folder that it works in. */
  readonly files: ReadFiles
  /** Who reads mail here. */
  taker(): Promise<MessageTaker>
  /** How long a message stays with a reader that does not ack it, milliseconds. */
  readonly messageLeaseMs: number
  onFault(fault: string): void
}

/** How long a message is waited for; after that it waits in the outbox alone. */
const SEND_MS = 2_000
const CONVERSATION_MS = 3 * 3_600_000
/** How often a task is asked for again whose answer was lost: its id makes it one. */
const ASSIGN_TRIES = 3

/** A member by the spool and the credentials of its host: what it says and reports leaves through the outbox, bridge or no bridge. */
export class HostMember implements Member {
  readonly #parts: HostMemberParts
  readonly #sessions: HostSessions
  readonly #mail: HostMail
  readonly #tasks: HostTasks
  readonly #outbox: Outbox

  constructor(parts: HostMemberParts) {
    this.#parts = parts
    this.#sessions = new HostSessions(parts.state, parts.session)
    this.#mail = new HostMail({ ...parts, wall: () => parts.clock.wall() })
    this.#tasks = new HostTasks(parts)
    this.#outbox = new Outbox(parts.state)
  }

  async openConversation(roles: Readonly<Record<Side, string>>): Promise<OpenedChannel> {
    const store = await this.#parts.administration()
    const wanted = { roles, agents: roles, lifetimeMs: CONVERSATION_MS }
    const { id, tokens, expiresAt } = await store.openConversation(wanted)
    return { conversation: id, tokens, expiresAt }
  }

  async sendToPartner(as: Speaker, draft: MessageDraft): Promise<SentMessage> {
    checkDraft(draft)
    const { session } = await this.#sessions.speaker(as)
    return await this.#send(session, draft)
  }

  async sendTo(as: Speaker, to: Addressee, draft: MessageDraft): Promise<SentMessage> {
    checkDraft(draft)
    const { session } = await this.#sessions.agent(as)
    const isPartner = sideOf(session) === 'b' && 'agent' in to && to.agent === ORCHESTRATOR
    if (isPartner) return await this.#send(session, draft)
    return await this.#put({ kind: 'post', from: session, to, draft }, 'role' in to ? `the role ${to.role}` : to.agent)
  }

  async check(as: Speaker, limit: number): Promise<CheckedMail> {
    const sessions = await this.#speakers(as)
    const { messages: read, more } = await this.#mail.check(sessions, limit)
    const messages = await this.#withoutStaleOrders(read)
    // Without a keepalive an empty inbox does not mean that there is no mail.
    const isFed = await isKeepaliveThere(this.#parts.state)
    return { messages, more, why: isFed ? null : 'no s2-keepalive runs on this host: new mail arrives when one does' }
  }

  /** A stop order for an earlier life of the holder is acked unseen: the agent would stop what it took since. */
  async #withoutStaleOrders(messages: readonly CheckedMessage[]): Promise<CheckedMessage[]> {
    const files = new HeldTasks(this.#parts.state)
    const kept: CheckedMessage[] = []
    for (const message of messages) {
      const news = readAssignmentNews(message)
      const held = news?.is === 'revoked' ? await files.find(message.to, news.task) : null
      const isStale = held !== null && held.lost === null && news?.is === 'revoked' && !isMeantFor(news, held.epoch)
      if (isStale) await this.#mail.ack([message.to], [message.id])
      else kept.push(message)
    }
    return kept
  }

  async ack(as: Speaker, ids: readonly number[]): Promise<number[]> {
    return await this.#mail.ack(await this.#speakers(as), ids)
  }

  async partner(as: Speaker): Promise<PartnerStatus> {
    const { session } = await this.#sessions.speaker(as)
    return await partnerStatus(await this.#parts.store(), session, this.#parts.clock)
  }

  async say(as: Speaker, status: SaidStatus): Promise<void> {
    const { session } = await this.#sessions.speaker(as)
    await (await this.#parts.store()).noteStatus(session, status)
  }

  async agents(as: Speaker): Promise<FleetAgent[]> {
    await this.#sessions.agent(as)
    return await (await this.#parts.store()).listAgents()
  }

  async reserve(as: Speaker, wish: ReservationWish): Promise<Reservation[]> {
    const { session } = await this.#sessions.agent(as)
    const { mode, task, note } = wish
    const forMs = wish.forMs ?? RESERVED_FOR_MS
    const { repository, globs } = await this.#parts.files(wish.globs, wish.repository)
    const epoch = task === null ? null : await this.#tasks.epochOf(session, this.#parts.store, task)
    const store = await this.#parts.store()
    const reserved = await store.reserveFiles(session, { globs, mode, forMs, task, note, repository, epoch })
    await keepListAfterAct(store, this.#parts)
    return reserved
  }

  async release(as: Speaker, which: ReleaseWish): Promise<Reservation[]> {
    const { session } = await this.#sessions.agent(as)
    const store = await this.#parts.store()
    const released = await store.releaseFiles(session, await chosenFiles(which, this.#parts.files))
    await keepListAfterAct(store, this.#parts)
    return released
  }

  async tasks(as: Speaker, { open, limit }: { readonly open: boolean; readonly limit: number }): Promise<Task[]> {
    const { session } = await this.#sessions.agent(as)
    const own = sideOf(session) === 'b' ? { holder: session } : {}
    return await (await this.#parts.store()).tasks({ ...(open ? { open } : {}), ...own, limit, newest: true })
  }

  async take(as: Speaker, id: string | null): Promise<TakenTask | null> {
    const { session } = await this.#sessions.speaker(as)
    return await this.#tasks.take(session, await this.#parts.store(), id)
  }

  async progress(as: Speaker, id: string, said: SaidProgress): Promise<ReportedTask> {
    const { session } = await this.#sessions.speaker(as)
    return await this.#tasks.progress(session, this.#parts.store, id, said)
  }

  async end(as: Speaker, id: string, state: 'completed' | 'failed', words: string): Promise<ReportedTask> {
    const { session } = await this.#sessions.speaker(as)
    return await this.#tasks.end(session, this.#parts.store, id, state, words)
  }

  async assign(as: Speaker, wish: TaskWish): Promise<Task> {
    const { session } = await this.#sessions.agent(as)
    const store = await this.#parts.store()
    return await addSurely(store, await wishedTask(wish, session, store, this.#parts.clock))
  }

  async noteCall(): Promise<string[]> {
    return await this.#tasks.noteCall()
  }

  async #speakers(as: Speaker): Promise<SessionId[]> {
    const own = await this.#sessions.all(as)
    if (own.length === 0 || as.token !== null) return [(await this.#sessions.speaker(as)).session]
    return own.map(({ session }) => session)
  }

  async #send(from: SessionId, draft: MessageDraft): Promise<SentMessage> {
    return await this.#put({ kind: 'send', from, draft }, partnerOf(from))
  }

  async #put(item: Extract<NewOutboxItem, { readonly from: SessionId }>, to: string): Promise<SentMessage> {
    const { state, clock } = this.#parts
    const { from } = item
    const patienceMs = (await isKeepaliveThere(state)) ? SEND_MS : 0
    const put = await putAndWait(this.#outbox, item, { ...this.#parts, patienceMs })
    const why = put.state === 'carried' ? null : await whyNotCarried(clock, state, from)
    return { state: put.state, from, to, id: null, why }
  }
}

async function addSurely(store: Store, task: NewTask): Promise<Task> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await store.addTask(task)
    } catch (error) {
      if (!isPassing(error) || tries >= ASSIGN_TRIES) throw error
    }
  }
}
