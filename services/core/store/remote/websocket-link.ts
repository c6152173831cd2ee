import { WebSocket } from 'ws'
import type { Beat } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Mark } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { joinProof } from '#fleet/signature.ts'
import { Pauses } from '#runtime/backoff.ts'
import { waitAtMost } from '#runtime/bounded-wait.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { BRIDGE_FRAMES, type BridgeFrame, CLOSE, type HostFrame, readFrame, TAKEN_EVERY } from './frames.ts'
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
  readonly #authority: () => string | undefined
  readonly #probeMs: number
  readonly #parts: WebSocketLinkParts
  readonly #sessions = new Map<SessionId, SessionEntry>()
  readonly #pending = new Map<number, Pending>()
  readonly #closing = new AbortController()
  #marks = 0
  readonly #marksWaiting: (() => void)[] = []
  #running: Promise<unknown> | null = null
  #ws: WebSocket | null = null
  #challenge: string | null = null
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
  constructor(origin: URL, authority: () => string | undefined, probeMs: number, parts: WebSocketLinkParts) {
    this.#url = new URL('/v1/socket', origin.href.replace(/^http/, 'ws'))
    this.#authority = authority
    this.#probeMs = probeMs
    this.#parts = parts
    this.#reconnects = new Pauses(RECONNECT, parts.chance)
    this.#checkedAt = parts.clock.now()
  }

  /** Whether the socket is open and carries beats and mail. */
  get linked(): boolean {
    return this.#challenge !== null
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
    if (entry.state !== 'left') this.#sendFrame({ t: 'leave', session: entry.session })
  }

  /** Joins, or joins again: with the token of now, and from the readers' cursor. */
  #join(entry: SessionEntry): void {
    const { session } = entry
    const token = this.#parts.token(session)
    if (this.#challenge === null || token === undefined) return
    const after = cursorOf(entry)
    entry.state = 'joining'
    entry.token = token
    entry.after = after
    entry.taken = 0
    this.#sendFrame({ t: 'join', session, after, proof: joinProof(token, this.#challenge, session, after) })
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
      await this.#connect()
      if (signal.aborted) break
      await this.#reconnects.wait(clock, signal)
    }
    await checks.done
  }

  /** Opens one socket and waits for its end. */
  async #connect(): Promise<void> {
    const { clock, log } = this.#parts
    const ca = this.#authority()
    const ws = new WebSocket(this.#url, {
      perMessageDeflate: false,
      maxPayload: FRAME_MAX,
      handshakeTimeout: CHALLENGE_MS,
      ...(ca === undefined ? {} : { ca }),
    })
    this.#ws = ws
    this.#connectedAt = clock.now()
    let why = ''
    ws.on('error', (error) => {
      const fault = adviceOnCertificate(error, { carried: ca !== undefined })
      why = fault?.what ?? error.message
      if (fault === null && !/^E[A-Z]/.test(String((error as NodeJS.ErrnoException).code))) this.#barredCount += 1
    })
    ws.on('message', (data, isBinary) => this.#onFrame(isBinary ? null : read(data as Buffer)))
    await new Promise<void>((resolve) => {
      ws.once('close', (code, reason) => {
        why ||= `closed with ${code} ${reason}`
        resolve()
      })
    })
    const wasLinked = this.#challenge !== null
    this.#onClose()
    if (this.#closing.signal.aborted) return
    if (wasLinked) log.info('link lost', { why })
    else if (this.#reconnects.failures === 0) log.warn('link unavailable, retrying', { why })
  }

  #onClose(): void {
    this.#ws = null
    this.#challenge = null
    this.#unansweredSince = null
    for (const entry of this.#sessions.values()) {
      entry.state = 'left'
      for (const buffer of entry.buffers) buffer.wake()
    }
    for (const n of [...this.#pending.keys()]) this.#settle(n, lost())
  }

  #onFrame(frame: BridgeFrame | 'unknown' | null): void {
    this.#unansweredSince = null
    if (frame === 'unknown') return // a kind of frame that only newer hosts know
    if (frame === null) this.#ws?.close(CLOSE.policy, 'that is no frame')
    else if (frame.t === 'mail') this.#onMail(frame)
    else if (frame.t === 'credential') this.#parts.onCredential(frame.session)
    else if (frame.t === 'done') this.#settle(frame.n, null)
    else if (frame.t === 'failed') this.#settle(frame.n, fromProblem(frame.problem) ?? lost())
    else if (frame.t === 'challenge') this.#onChallenge(frame.challenge)
    else if (frame.t === 'joined') this.#onJoined(frame)
    else this.#onRefused(frame)
  }

  #onChallenge(challenge: string): void {
    if (this.#challenge !== null) return
    this.#challenge = challenge
    this.#barredCount = 0
    this.#parts.log.info('link open', { sessions: this.#sessions.size })
    for (const entry of this.#sessions.values()) this.#join(entry)
  }

  #onJoined({ session, after }: BridgeFrame & { readonly t: 'joined' }): void {
    const entry = this.#sessions.get(session)
    if (entry?.state !== 'joining') return
    // An answer to an earlier join: mail from that cursor would hide the messages between the two.
    if (after !== undefined && after !== entry.after) return
    entry.state = 'joined'
    entry.rejoins.succeeded()
    this.#reconnects.succeeded()
    for (const buffer of entry.buffers) buffer.wake()
  }

  #onRefused({ session, problem }: BridgeFrame & { readonly t: 'refused' }): void {
    const entry = this.#sessions.get(session)
    if (entry === undefined) return
    const { clock, log } = this.#parts
    entry.state = 'left'
    if (entry.rejoins.failures === 0) {
      log.warn('session refused by the bridge, retrying', { session, code: problem.code, why: problem.detail })
    }
    entry.retryAt = clock.now() + entry.rejoins.failed()
    for (const buffer of entry.buffers) buffer.wake()
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
    if (this.#challenge === null) {
      if (this.#ws !== null && now - this.#connectedAt > 2 * CHALLENGE_MS) this.#ws.terminate()
    } else if (waited >= this.#probeMs * 1.5) this.#ws?.terminate()
    else if (now - this.#sentAt >= this.#probeMs) void this.beat([]).catch(() => undefined)
    for (const entry of [...this.#sessions.values()]) this.#checkSession(entry, now)
  }

  #checkSession(entry: SessionEntry, now: number): void {
    const token = this.#parts.token(entry.session)
    if (token === undefined) {
      if (entry.buffers.size === 0) this.#remove(entry)
      else if (entry.state !== 'left') this.#sendFrame({ t: 'leave', session: entry.session })
      entry.state = 'left'
    } else if (entry.token !== token || (entry.state === 'left' && now >= entry.retryAt)) this.#join(entry)
  }

  #ask(frame: (n: number) => HostFrame, isMark: boolean): Promise<void> {
    if (this.#challenge === null) return Promise.reject(lost())
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
    this.#ws.send(JSON.stringify(frame))
  }
}

/** The cursor of a session's mail: that of the reader that is least far. Null when nobody reads. */
function cursorOf({ buffers }: SessionEntry): number | null {
  return buffers.size === 0 ? null : Math.min(...[...buffers].map(({ cursor }) => cursor))
}

function lost(): S2Error {
  return new S2Error('unavailable', 'the socket to the bridge was lost', { next: 'try again' })
}

function read(data: Buffer): BridgeFrame | 'unknown' | null {
  try {
    const value: unknown = JSON.parse(data.toString('utf8'))
    const frame = readFrame(BRIDGE_FRAMES, value)
    return frame === null && isOfAnotherKind(value) ? 'unknown' : frame
  } catch {
    return null
  }
}

function isOfAnotherKind(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || !('t' in value)) return false
  return typeof value.t === 'string' && !Object.hasOwn(BRIDGE_FRAMES, value.t)
}
