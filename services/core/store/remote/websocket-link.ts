import { randomBytes } from 'node:crypto'
import { WebSocket } from 'ws'
import type { Beat } from '#fleet/beat.ts'
import { isPassing, S2Error } from '#fleet/errors.ts'
import { FrameSeal } from '#fleet/frame-seal.ts'
import type { Mark } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { checkJoinedProof, frameKey, type JoinedSession, joinProof, type SocketGreeting } from '#fleet/signature.ts'
import { Pauses } from '#runtime/backoff.ts'
import { waitAtMost } from '#runtime/bounded-wait.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { demandPrivate, tlsOptions } from './bridge-trust.ts'
import { type BridgeFrame, CLOSE, type HostFrame, readBridgeFrame, TAKEN_EVERY } from './frames.ts'
import type { BridgeAddressee } from './http-client.ts'
import { MailBuffer } from './mail-buffer.ts'
import { fromProblem } from './problem-details.ts'
import { adviceOnCertificate } from './tls-error-advice.ts'

export interface WebSocketLinkParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  /** The token of a session now; asked before every join, as credentials change. */
  token(session: SessionId): string | undefined
  /** The bridge says that git may have a new credential for a session. */
  onCredential(session: SessionId): void
  /** The bridge refuses a session, at its join or after it, for a reason that does not pass by itself. */
  onRefused(session: SessionId): void
}

const RECONNECT = { firstMs: 250, mostMs: 5_000 }
const REJOIN = { firstMs: 500, mostMs: 30_000 }
/** How long a bridge may take to send its challenge once connected. */
const CHALLENGE_MS = 10_000
const FRAME_MAX = 4 * 1024 * 1024
const MARKS_UNDER_WAY_MAX = 64
const GOODBYE_MS = 500

/** One session on the link: whether it has joined, and what for. */
interface SessionEntry {
  readonly session: SessionId
  state: 'left' | 'joining' | 'joined'
  /** The token that it joined with, or was refused with. */
  token: string | null
  /** The cursor from which it asked for mail when it joined last. */
  after: number | null
  beats: boolean
  readonly buffers: Set<MailBuffer>
  /** Messages taken by the readers since the bridge was last told so. */
  taken: number
  readonly rejoins: Pauses
  /** No new join before this, by the monotonic clock. */
  retryAt: number
}

/** The join whose answer will show whether this is the bridge: until then no other is sent, and nothing else. */
interface FirstJoin extends JoinedSession {
  readonly token: string
}

interface Pending {
  readonly isMark: boolean
  readonly outcome: PromiseWithResolvers<void>
}

/**
 * The one WebSocket of a host: opened when it is first needed, and kept open from then on. Each session joins by itself,
 * joins again from its cursor when the socket was lost, and changes to a new token without any effect on the others.
 */
export class WebSocketLink {
  readonly #url: URL
  readonly #target: Extract<BridgeAddressee, { origin: URL }>
  readonly #probeMs: number
  readonly #parts: WebSocketLinkParts
  readonly #sessions = new Map<SessionId, SessionEntry>()
  readonly #pending = new Map<number, Pending>()
  readonly #closing = new AbortController()
  #marks = 0
  readonly #marksWaiting: (() => void)[] = []
  #running: Promise<unknown> | null = null
  #ws: WebSocket | null = null
  /** What both sides know of this connection; null before the bridge has sent its challenge. */
  #greeting: SocketGreeting | null = null
  #first: FirstJoin | null = null
  /** From the first join on: by then the bridge has proved that it knows the token. */
  #seal: FrameSeal | null = null
  #connectedAt = 0
  readonly #reconnects: Pauses
  /** How often in a row something answered that lets no WebSocket through. */
  #barredCount = 0
  #lastNumber = 0
  #sentAt = 0
  /** When the oldest frame without an answer was sent; later by the time that this host itself was paused. */
  #unansweredSince: number | null = null
  #checkedAt: number

  /** `probeMs`: how long this host may send nothing before it asks whether the bridge still answers. */
  constructor(target: Extract<BridgeAddressee, { origin: URL }>, probeMs: number, parts: WebSocketLinkParts) {
    this.#url = new URL('/v1/socket', target.origin.href.replace(/^http/, 'ws'))
    this.#target = target
    this.#probeMs = probeMs
    this.#parts = parts
    this.#reconnects = new Pauses(RECONNECT, parts.chance)
    this.#checkedAt = parts.clock.now()
  }

  /** Whether the socket is open, and leads to the bridge: it carries beats and mail. */
  get linked(): boolean {
    return this.#seal !== null
  }

  /** Whether something in front of the bridge lets no WebSocket through; an unreachable bridge does not count. */
  get isBarred(): boolean {
    return this.#barredCount >= 2
  }

  isJoined(session: SessionId): boolean {
    return this.#sessions.get(session)?.state === 'joined'
  }

  /** Joins a session that beats, unless it has joined; one whose token has changed joins again before the old token ends. */
  ensureJoined(session: SessionId): void {
    const entry = this.#entryOf(session)
    const hasChanged = entry.state === 'joined' && entry.token !== this.#parts.token(session)
    if (entry.beats && !hasChanged) return
    entry.beats = true
    this.#join(entry)
  }

  /** Opens a buffer that gets the session's mail from a cursor on. */
  open(session: SessionId, after: number): MailBuffer {
    const buffer = new MailBuffer(after)
    const entry = this.#entryOf(session)
    entry.buffers.add(buffer)
    this.#join(entry)
    return buffer
  }

  close(session: SessionId, buffer: MailBuffer): void {
    const entry = this.#sessions.get(session)
    if (entry?.buffers.delete(buffer) !== true || entry.buffers.size > 0 || this.#closing.signal.aborted) return
    if (entry.beats) this.#join(entry)
    else this.#remove(entry)
  }

  /** A reader has dealt with so many messages out of its buffer. */
  taken(session: SessionId, count: number): void {
    const entry = this.#sessions.get(session)
    if (entry === undefined) return
    entry.taken += count
    if (entry.taken < TAKEN_EVERY || entry.state !== 'joined') return
    entry.taken = 0
    this.#sendFrame({ t: 'taken', session, id: cursorOf(entry) ?? 0 })
  }

  /** Beats for sessions that have joined; settles when the bridge has them. `unavailable` when the socket is lost first. */
  beat(beats: readonly Beat[]): Promise<void> {
    return this.#ask((n) => ({ t: 'beat', n, beats }), false)
  }

  async mark(session: SessionId, ids: readonly number[], mark: Mark): Promise<void> {
    if (this.#marks >= MARKS_UNDER_WAY_MAX) await new Promise<void>((resolve) => this.#marksWaiting.push(resolve))
    await this.#ask((n) => ({ t: 'mark', n, session, ids, mark }), true)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    for (const { buffers } of this.#sessions.values()) for (const buffer of buffers) buffer.wake()
    const ws = this.#ws
    if (ws !== null) {
      ws.close(CLOSE.done)
      await waitAtMost(new Promise((resolve) => ws.once('close', resolve)), GOODBYE_MS, this.#parts.clock)
      ws.terminate()
    }
    await this.#running
  }

  #entryOf(session: SessionId): SessionEntry {
    const known = this.#sessions.get(session)
    if (known !== undefined) return known
    const entry: SessionEntry = {
      session,
      state: 'left',
      token: null,
      after: null,
      beats: false,
      buffers: new Set(),
      taken: 0,
      rejoins: new Pauses(REJOIN, this.#parts.chance),
      retryAt: 0,
    }
    this.#sessions.set(session, entry)
    this.#running ??= this.#run()
    return entry
  }

  #remove(entry: SessionEntry): void {
    this.#sessions.delete(entry.session)
    if (entry.state !== 'left') this.#leave(entry.session)
  }

  #leave(session: SessionId): void {
    if (this.#seal !== null) this.#sendFrame({ t: 'leave', session })
  }

  /** Joins, or joins again: with the token of now, and from the readers' cursor. Waits for its turn until one has joined. */
  #join(entry: SessionEntry): void {
    const { session } = entry
    const greeting = this.#greeting
    const token = this.#parts.token(session)
    if (greeting === null || token === undefined) return
    if (this.#seal === null && this.#first !== null) {
      entry.state = 'left'
      return
    }
    const after = cursorOf(entry)
    Object.assign(entry, { state: 'joining', token, after, taken: 0 })
    if (this.#seal === null) this.#first = { session, after, token }
    const proof = joinProof(token, greeting, { session, after })
    this.#sendFrame({ t: 'join', session, after, nonce: greeting.nonce, proof })
  }

  /** Joins those that waited for their turn. */
  #joinOthers(): void {
    const now = this.#parts.clock.now()
    for (const entry of this.#sessions.values()) if (entry.state === 'left' && now >= entry.retryAt) this.#join(entry)
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    const { clock, log } = this.#parts
    const checks = new Loop({
      clock,
      signal,
      step: async () => {
        this.#check()
        return this.#probeMs / 2
      },
      onError: (error) => {
        log.error('link check failed, retrying', { error })
        return this.#probeMs
      },
    })
    while (!signal.aborted) {
      if (this.#isPrivate()) await this.#connect()
      if (signal.aborted) break
      await this.#reconnects.wait(clock, signal)
    }
    await checks.done
  }

  #isPrivate(): boolean {
    try {
      demandPrivate(this.#target.origin, this.#target.allowsPlain)
      return true
    } catch (error) {
      if (this.#reconnects.failures === 0) this.#parts.log.warn('link refused', { why: (error as Error).message })
      return false
    }
  }

  /** Opens one socket and waits for its end. */
  async #connect(): Promise<void> {
    const { clock, log } = this.#parts
    const { trust } = this.#target
    const carried = trust.authority() !== undefined
    const ws = new WebSocket(this.#url, {
      perMessageDeflate: false,
      maxPayload: FRAME_MAX,
      handshakeTimeout: CHALLENGE_MS,
      ...(tlsOptions(trust) as object), // the types of ws have `checkServerIdentity` otherwise than Node
    })
    this.#ws = ws
    this.#connectedAt = clock.now()
    let why = ''
    ws.on('error', (error) => {
      const fault = adviceOnCertificate(error, { carried })
      why = fault?.what ?? error.message
      if (fault === null && !/^E[A-Z]/.test(String((error as NodeJS.ErrnoException).code))) this.#barredCount += 1
    })
    ws.on('message', (data, isBinary) => {
      if (ws.readyState === WebSocket.OPEN) this.#onMessage(data as Buffer, isBinary)
    })
    await new Promise<void>((resolve) => {
      ws.once('close', (code, reason) => {
        why ||= `closed with ${code} ${reason}`
        resolve()
      })
    })
    const wasLinked = this.linked
    this.#onClose()
    if (this.#closing.signal.aborted) return
    if (wasLinked) log.info('link lost', { why })
    else if (this.#reconnects.failures === 0) log.warn('link unavailable, retrying', { why })
  }

  #onClose(): void {
    this.#ws = null
    this.#greeting = null
    this.#first = null
    this.#seal = null
    this.#unansweredSince = null
    for (const entry of this.#sessions.values()) {
      entry.state = 'left'
      for (const buffer of entry.buffers) buffer.wake()
    }
    for (const n of [...this.#pending.keys()]) this.#settle(n, lost())
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    const text = isBinary ? null : this.#seal === null ? data : this.#seal.open(data)
    const frame = text === null ? null : readBridgeFrame(text)
    this.#unansweredSince = null
    if (frame === 'unknown') return // a kind of frame that only newer hosts know
    if (frame === null) this.#cut('a frame that is none of the bridge’s')
    else if (this.#seal === null && !OPENING.includes(frame.t)) this.#cut('a frame before the bridge has proved itself')
    else this.#onFrame(frame)
  }

  #onFrame(frame: BridgeFrame): void {
    if (frame.t === 'mail') this.#onMail(frame)
    else if (frame.t === 'credential') this.#parts.onCredential(frame.session)
    else if (frame.t === 'done') this.#settle(frame.n, null)
    else if (frame.t === 'failed') this.#settle(frame.n, fromProblem(frame.problem) ?? lost())
    else if (frame.t === 'challenge') this.#onChallenge(frame.challenge)
    else if (frame.t === 'joined') this.#onJoined(frame)
    else this.#onRefused(frame)
  }

  /** Ends a socket whose other end is not the bridge, or not to be understood. */
  #cut(why: string): void {
    this.#parts.log.warn('link cut', { why })
    this.#ws?.terminate()
  }

  #onChallenge(challenge: string): void {
    if (this.#greeting !== null) return
    this.#greeting = { authority: this.#url.host, challenge, nonce: randomBytes(18).toString('base64url') }
    this.#barredCount = 0
    this.#joinOthers()
  }

  #onJoined({ session, after, proof }: BridgeFrame & { readonly t: 'joined' }): void {
    const greeting = this.#greeting
    if (greeting === null) return
    if (this.#seal === null && !this.#isProved({ session, after }, proof, greeting)) {
      this.#cut('what answers there does not know the token')
      return
    }
    const entry = this.#sessions.get(session)
    if (entry === undefined) this.#leave(session)
    else this.#settleJoin(entry, { session, after }, proof, greeting)
    this.#joinOthers()
  }

  /** Whether this answers the first join, with the proof that only the bridge can make; all frames are sealed from here on. */
  #isProved(joined: JoinedSession, proof: string, greeting: SocketGreeting): boolean {
    const first = this.#first
    if (first?.session !== joined.session || first.after !== joined.after) return false
    if (!checkJoinedProof(proof, first.token, greeting, joined)) return false
    this.#seal = new FrameSeal(frameKey(first.token, greeting), 'host')
    this.#first = null
    this.#parts.log.info('link open', { sessions: this.#sessions.size })
    return true
  }

  #settleJoin(entry: SessionEntry, joined: JoinedSession, proof: string, greeting: SocketGreeting): void {
    // An answer to an earlier join: mail from that cursor would hide the messages between the two.
    if (entry.state !== 'joining' || entry.token === null || joined.after !== entry.after) return
    // A bridge may know the token of one session and not that of another, whose mail it must not bring.
    if (!checkJoinedProof(proof, entry.token, greeting, joined)) return
    entry.state = 'joined'
    entry.rejoins.succeeded()
    this.#reconnects.succeeded()
    for (const buffer of entry.buffers) buffer.wake()
  }

  #onRefused({ session, problem }: BridgeFrame & { readonly t: 'refused' }): void {
    if (this.#first?.session === session) this.#first = null
    const entry = this.#sessions.get(session)
    if (entry !== undefined) this.#onEntryRefused(entry, problem)
    if (this.#seal === null && this.#first === null) this.#joinOthers()
  }

  #onEntryRefused(entry: SessionEntry, problem: (BridgeFrame & { readonly t: 'refused' })['problem']): void {
    const { session } = entry
    const { clock, log, onRefused } = this.#parts
    // One join is refused once: who says it again, as anybody can before the bridge has proved itself, is not heard.
    const isNews = entry.state !== 'left'
    entry.state = 'left'
    if (entry.rejoins.failures === 0) {
      log.warn('session refused by the bridge, retrying', { session, code: problem.code, why: problem.detail })
    }
    entry.retryAt = clock.now() + entry.rejoins.failed()
    for (const buffer of entry.buffers) buffer.wake()
    if (isNews && !isPassing(fromProblem(problem))) onRefused(session)
  }

  #onMail({ session, message }: BridgeFrame & { readonly t: 'mail' }): void {
    const entry = this.#sessions.get(session)
    // Mail that comes before `joined` belongs to an earlier join, and is sent again for this one.
    if (entry?.state !== 'joined') return
    for (const buffer of entry.buffers) buffer.put(message)
    // A message that all readers had before counts as taken too: the bridge counts everything that it sent.
    if (message.id <= (cursorOf(entry) ?? 0)) this.taken(session, 1)
  }

  /** Regularly: whether the bridge still answers, a token has changed, or a refused session may join again. */
  #check(): void {
    const now = this.#parts.clock.now()
    const pausedMs = Math.max(0, now - this.#checkedAt - this.#probeMs)
    this.#checkedAt = now
    if (this.#unansweredSince !== null) this.#unansweredSince += pausedMs // the answer may have come, and not been read
    const waited = this.#unansweredSince === null ? 0 : now - this.#unansweredSince
    if (this.#seal === null) {
      if (this.#ws !== null && now - this.#connectedAt > 2 * CHALLENGE_MS) this.#ws.terminate()
    } else if (waited >= this.#probeMs * 1.5) this.#ws?.terminate()
    else if (now - this.#sentAt >= this.#probeMs) void this.beat([]).catch(() => undefined)
    for (const entry of [...this.#sessions.values()]) this.#checkSession(entry, now)
  }

  #checkSession(entry: SessionEntry, now: number): void {
    const token = this.#parts.token(entry.session)
    if (token === undefined) {
      if (entry.buffers.size === 0) this.#remove(entry)
      else if (entry.state !== 'left') this.#leave(entry.session)
      entry.state = 'left'
    } else if (entry.token !== token || (entry.state === 'left' && now >= entry.retryAt)) this.#join(entry)
  }

  #ask(frame: (n: number) => HostFrame, isMark: boolean): Promise<void> {
    if (this.#seal === null) return Promise.reject(lost())
    this.#lastNumber += 1
    const outcome = Promise.withResolvers<void>()
    this.#pending.set(this.#lastNumber, { isMark, outcome })
    if (isMark) this.#marks += 1
    this.#unansweredSince ??= this.#parts.clock.now()
    this.#sendFrame(frame(this.#lastNumber))
    return outcome.promise
  }

  #settle(n: number, error: S2Error | null): void {
    const pending = this.#pending.get(n)
    if (pending === undefined) return
    this.#pending.delete(n)
    if (pending.isMark) {
      this.#marks -= 1
      this.#marksWaiting.shift()?.()
    }
    if (error === null) pending.outcome.resolve()
    else pending.outcome.reject(error)
  }

  #sendFrame(frame: HostFrame): void {
    if (this.#ws?.readyState !== WebSocket.OPEN) return
    this.#sentAt = this.#parts.clock.now()
    const text = JSON.stringify(frame)
    this.#ws.send(this.#seal === null ? text : this.#seal.seal(text))
  }
}

/** What anybody may say before the bridge has proved itself: none of it is acted upon but by trying to join. */
const OPENING: readonly BridgeFrame['t'][] = ['challenge', 'joined', 'refused']

/** The cursor of a session's mail: that of the reader that is least far. Null when nobody reads. */
function cursorOf({ buffers }: SessionEntry): number | null {
  return buffers.size === 0 ? null : Math.min(...[...buffers].map(({ cursor }) => cursor))
}

function lost(): S2Error {
  return new S2Error('unavailable', 'the socket to the bridge was lost', { next: 'try again' })
}
