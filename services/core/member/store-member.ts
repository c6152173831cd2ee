import { randomBytes } from 'node:crypto'
import { S2Error } from '#fleet/errors.ts'
import { checkDraft, type Message, type MessageDraft } from '#fleet/message.ts'
import type { Addressee, FleetAgent } from '#fleet/peer-messages.ts'
import { RESERVED_FOR_MS, type Reservation } from '#fleet/reservation.ts'
import type { SaidStatus } from '#fleet/said-status.ts'
import { conversationOf, partnerOf, type SessionId, sideOf } from '#fleet/session-id.ts'
import { isLeased, isOpen, type Report, type Task } from '#fleet/task.ts'
import { checkHolder } from '#fleet/task-ownership.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import { endAgain } from './ended-task.ts'
import type {
  CheckedMail,
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
import { partnerStatus } from './partner-status.ts'
import { progressLine } from './progress-line.ts'
import { heldByAnother, notHeld, refuseTake } from './refused-tasks.ts'
import { wishedTask } from './wished-task.ts'

/** The verbs of a store that a session may call; whoever makes one keeps them to what that session may see and do. */
export type SessionStore = Pick<
  Store,
  | 'conversations'
  | 'verdicts'
  | 'noteStatus'
  | 'lastStatus'
  | 'send'
  | 'post'
  | 'listAgents'
  | 'unacked'
  | 'leaseMessages'
  | 'messageStatus'
  | 'mark'
  | 'tasks'
  | 'task'
  | 'leaseTask'
  | 'report'
  | 'addTask'
  | 'reserveFiles'
  | 'releaseFiles'
>

export interface StoreMemberParts {
  readonly session: SessionId
  /** Which life of an agent asks, in a word of its client; null where it says none: then it gets nothing in hand. */
  readonly reader: string | null
  readonly store: SessionStore
  readonly clock: Clock
}

/** What leases of messages and tasks are called by that are given through this door; the name of the reader follows. */
const TAKER = 'mcp'
/** How long a message is in the hand of whoever read it, before it is handed out again. */
const IN_HAND_MS = 300_000
const UNACKED_MAX = 200

/** A member of one session at the store itself: it keeps nothing between two calls. */
export class StoreMember implements Member {
  readonly #session: SessionId
  readonly #reader: string | null
  readonly #store: SessionStore
  readonly #clock: Clock

  constructor({ session, reader, store, clock }: StoreMemberParts) {
    this.#session = session
    this.#reader = reader
    this.#store = store
    this.#clock = clock
  }

  /** Who has messages and tasks in hand. Throws `invalid` where the client does not say: two would have them in one hand. */
  get #taker(): string {
    if (this.#reader !== null) return `${TAKER}:${this.#reader}`
    throw new S2Error('invalid', 'the request does not say which client of the session asks', {
      next: 'send the header S2-Reader, a word of its own for each start of a client, as `s2 mcp --headers` prints it; or Mcp-Session-Id',
    })
  }

  async openConversation(): Promise<OpenedChannel> {
    throw new S2Error('forbidden', 'conversations are opened on the host of the orchestrator', {
      next: 'a person invites a worker there: s2 worker invite',
    })
  }

  async sendToPartner(as: Speaker, draft: MessageDraft): Promise<SentMessage> {
    this.#demand(as)
    checkDraft(draft)
    return this.#sent([await this.#store.send(this.#session, newKey(), draft)], partnerOf(this.#session))
  }

  async sendTo(as: Speaker, to: Addressee, draft: MessageDraft): Promise<SentMessage> {
    this.#demand(as)
    checkDraft(draft)
    const sent = await this.#store.post(this.#session, to, newKey(), draft)
    return this.#sent(sent, 'role' in to ? `the role ${to.role}` : to.agent)
  }

  async check(as: Speaker, limit: number): Promise<CheckedMail> {
    this.#demand(as)
    const taker = this.#taker
    await this.#store.mark(this.#session, await this.#inHand(taker), 'acked')
    const leased = await this.#store.leaseMessages(this.#session, taker, limit, IN_HAND_MS)
    const messages = leased.map(({ times, ...message }) => ({ ...message, again: times > 1 ? times : null }))
    const waiting = leased.length < limit ? 0 : (await this.#queued()).length
    return { messages, more: waiting, why: null }
  }

  async ack(as: Speaker, ids: readonly number[]): Promise<number[]> {
    this.#demand(as)
    const unacked = await this.#store.unacked(this.#session, 0, UNACKED_MAX)
    const found = unacked.filter(({ id }) => ids.includes(id)).map(({ id }) => id)
    if (found.length > 0) await this.#store.mark(this.#session, found, 'acked')
    return found
  }

  async partner(as: Speaker): Promise<PartnerStatus> {
    this.#demand(as)
    return await partnerStatus(this.#store, this.#session, this.#clock)
  }

  async say(as: Speaker, status: SaidStatus): Promise<void> {
    this.#demand(as)
    await this.#store.noteStatus(this.#session, status)
  }

  async agents(as: Speaker): Promise<FleetAgent[]> {
    this.#demand(as)
    return await this.#store.listAgents()
  }

  async tasks(as: Speaker, { open, limit }: { readonly open: boolean; readonly limit: number }): Promise<Task[]> {
    this.#demand(as)
    const own = sideOf(this.#session) === 'b' ? { holder: this.#session } : {}
    return await this.#store.tasks({ ...(open ? { open } : {}), ...own, limit, newest: true })
  }

  async take(as: Speaker, id: string | null): Promise<TakenTask | null> {
    this.#demand(as)
    checkHolder(this.#session)
    const taker = this.#taker
    const open = await this.#store.tasks({ open: true, holder: this.#session, limit: 1_000 })
    const others = open.filter((task) => isLeased(task.state) && task.incarnation !== taker)
    if (others.some((task) => task.id === id)) throw heldByAnother(id ?? '')
    const passing = id === null ? others : open.filter((task) => task.id !== id)
    const ids = passing.map((task) => task.id)
    const task = await this.#store.leaseTask(this.#session, taker, ids)
    if (task === null) return id === null ? null : await refuseTake(this.#store, this.#session, id)
    return { task, renewal: 'nothing renews the lease but your reports: report_progress more often than once a minute' }
  }

  async progress(as: Speaker, id: string, said: SaidProgress): Promise<ReportedTask> {
    this.#demand(as)
    const task = await this.#store.task(id)
    this.#demandHeld(task)
    const { epoch, work } = task
    const checkpoint = said.checkpoint === null ? {} : { checkpoint: said.checkpoint }
    const report = { task: id, epoch, state: 'in_progress', progress: progressLine(said), result: null } as const
    return await this.#report({ ...report, ...checkpoint, work: work + 1 })
  }

  async end(as: Speaker, id: string, state: 'completed' | 'failed', words: string): Promise<ReportedTask> {
    this.#demand(as)
    const result = { exitCode: null, signal: null, tail: words }
    const task = await this.#store.task(id)
    const report = { task: id, epoch: task.epoch, state, progress: null, result }
    if (!isOpen(task.state)) return await endAgain(task, this.#session, report, this.#store)
    this.#demandHeld(task)
    return await this.#report(report)
  }

  async assign(as: Speaker, wish: TaskWish): Promise<Task> {
    this.#demand(as)
    return await this.#store.addTask(await wishedTask(wish, this.#session, this.#store, this.#clock))
  }

  async reserve(as: Speaker, wish: ReservationWish): Promise<Reservation[]> {
    this.#demand(as)
    const { globs, mode, task, note } = wish
    const forMs = wish.forMs ?? RESERVED_FOR_MS
    const epoch = task === null ? null : (await this.#store.task(task)).epoch
    const repository = [demandRepository(wish.repository)]
    return await this.#store.reserveFiles(this.#session, { globs, mode, forMs, task, note, repository, epoch })
  }

  async release(as: Speaker, { globs, repository }: ReleaseWish): Promise<Reservation[]> {
    this.#demand(as)
    const names = repository === null ? null : [repository]
    return await this.#store.releaseFiles(this.#session, { globs, repository: names })
  }

  async noteCall(): Promise<string[]> {
    return []
  }

  /** Whoever proved to be one session speaks for no other. */
  #demand({ conversation, side, token }: Speaker): void {
    const isOwn =
      (conversation === null || conversation === conversationOf(this.#session)) &&
      (side === null || side === sideOf(this.#session))
    if (isOwn && token === null) return
    throw new S2Error('forbidden', `this connection speaks for ${this.#session} alone`, {
      next: 'leave conversation_id, session_id and token out',
    })
  }

  /** Throws unless this very life of the agent took it: what another one holds by now is not for it to speak of. */
  #demandHeld(task: Task): void {
    if (task.holder !== this.#session || task.incarnation !== this.#taker) throw notHeld(task, this.#session)
  }

  #sent(messages: readonly Message[], to: string): SentMessage {
    const id = messages.length === 1 ? (messages[0]?.id ?? null) : null
    return { state: 'queued', from: this.#session, to, id, why: null }
  }

  async #report(report: Report): Promise<ReportedTask> {
    await this.#store.report(this.#session, report)
    return { task: report.task, epoch: report.epoch, session: this.#session, state: 'carried', why: null }
  }

  /** What this reader was handed. What another one has may be unread, and what lies in a host's inbox is that host's to ack. */
  async #inHand(taker: string): Promise<number[]> {
    const leased = (await this.#store.unacked(this.#session, 0, UNACKED_MAX)).filter(
      ({ delivery }) => delivery === 'leased',
    )
    const known = await Promise.all(leased.map(({ id }) => this.#store.messageStatus(id)))
    return known.filter(({ leasedBy }) => leasedBy === taker).map(({ id }) => id)
  }

  async #queued(): Promise<readonly Message[]> {
    const unacked = await this.#store.unacked(this.#session, 0, UNACKED_MAX)
    return unacked.filter(({ delivery }) => delivery !== 'leased')
  }
}

function newKey(): string {
  return `mcp-${randomBytes(12).toString('hex')}`
}

function demandRepository(named: string | null): string {
  if (named !== null) return named
  throw new S2Error('invalid', 'the repository is not known here', {
    next: 'name it in `repository`, for example github.com/owner/name',
  })
}
