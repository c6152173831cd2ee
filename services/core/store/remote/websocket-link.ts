import { WebSocket } from 'ws'
import type { Beat } from '#fleet/beat.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Mark } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session.ts'
import { joinProof } from '#fleet/signature.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { BRIDGE_FRAMES, type BridgeFrame, CLOSE, type HostFrame, readFrame, TAKEN_EVERY } from './frames.ts'
import { MailBuffer } from './mail-buffer.ts'
import { fromProblem } from './problem-details.ts'
import { adviceOnCertificate } from './server-trust.ts'

export interface WebSocketLinkParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  /** The present token of a session; asked again and again, as credentials change. */
  token(session: SessionId): string | undefined
  /** The bridge says that git may have a new credential for a session. */
  onCredential(session: SessionId): void
}

const RECONNECT = { firstMs: 250, mostMs: 5_000 }
const REJOIN = { firstMs: 500, mostMs: 30_000 }
/** How long a bridge may take to say its challenge once connected. */
const CHALLENGE_MS = 10_000
const FRAME_MAX = 4 * 1024 * 1024
const MARKS_UNDER_WAY_MAX = 64
const GOODBYE_MS = 500

/** One session's place on the link. */
interface Seat {
  readonly session: SessionId
  state: 'out' | 'asking' | 'in'
  /** What it joined with, or was refused with. */
  token: string | null
  /** From where it asked for mail when it joined last. */
  after: number | null
  beats: boolean
  readonly boxes: Set<MailBuffer>
  /** Messages handed over since the bridge was told so. */
  taken: number
  refusals: number
  /** Not to be asked again before this, by the clock that never jumps. */
  retryAt: number
}

interface Pending {
  readonly isMark: boolean
  readonly outcome: PromiseWithResolvers<void>
}

/**
 * The one WebSocket of a host: opened when it is first wanted, held open from then on. Each session sits on it by itself,
 * comes back with its cursor when the socket was lost, and moves to a new token without touching the others.
 */
export class WebSocketLink {
  readonly #url: URL
  readonly #authority: () => string | undefined
  readonly #probeMs: number
  readonly #parts: WebSocketLinkParts
  readonly #seats = new Map<SessionId, Seat>()
  readonly #pending = new Map<number, Pending>()
  readonly #closing = new AbortController()
  #marks = 0
  readonly #marksWaiting: (() => void)[] = []
  #running: Promise<unknown> | null = null
  #ws: WebSocket | null = null
  #challenge: string | null = null
  #connectedAt = 0
  #attempt = 0
  /** How often in a row something answered that does not let a socket through. */
  #unwelcome = 0
  #said = 0
  #saidAt = 0
  /** When the oldest beat that has no answer was said; later by the time that this host itself stood still. */
  #unansweredSince: number | null = null
  #caredAt: number

  /** `probeMs`: how long the link may be silent before it asks whether the bridge still answers. */
  constructor(origin: URL, authority: () => string | undefined, probeMs: number, parts: WebSocketLinkParts) {
    this.#url = new URL('/v1/socket', origin.href.replace(/^http/, 'ws'))
    this.#authority = authority
    this.#probeMs = probeMs
    this.#parts = parts
    this.#caredAt = parts.clock.now()
  }

  /** Whether beats and mail flow over the socket just now. */
  get linked(): boolean {
    return this.#challenge !== null
  }

  /** Whether what stands in front of the bridge lets no socket through; a bridge that is away does not count. */
  get isBarred(): boolean {
    return this.#unwelcome >= 2
  }

  isJoined(session: SessionId): boolean {
    return this.#seats.get(session)?.state === 'in'
  }

  /** Takes a seat for a session that beats; one whose token has changed moves to the new one now, before the old one ends. */
  seat(session: SessionId): void {
    const seat = this.#seatOf(session)
    const hasChanged = seat.state === 'in' && seat.token !== this.#parts.token(session)
    if (seat.beats && !hasChanged) return
    seat.beats = true
    this.#join(seat)
  }

  /** Opens a box that the session's mail is put into from a cursor on. */
  open(session: SessionId, after: number): MailBuffer {
    const buffer = new MailBuffer(after)
    const seat = this.#seatOf(session)
    seat.boxes.add(buffer)
    this.#join(seat)
    return buffer
  }

  close(session: SessionId, buffer: MailBuffer): void {
    const seat = this.#seats.get(session)
    if (seat?.boxes.delete(buffer) !== true || seat.boxes.size > 0 || this.#closing.signal.aborted) return
    if (seat.beats) this.#join(seat)
    else this.#remove(seat)
  }

  /** The reader took a message out of its box. */
  taken(session: SessionId): void {
    const seat = this.#seats.get(session)
    if (seat === undefined) return
    seat.taken += 1
    if (seat.taken < TAKEN_EVERY || seat.state !== 'in') return
    seat.taken = 0
    this.#say({ t: 'taken', session, id: cursorOf(seat) ?? 0 })
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
    for (const { boxes } of this.#seats.values()) for (const buffer of boxes) buffer.wake()
    const ws = this.#ws
    if (ws !== null) {
      ws.close(CLOSE.done)
      const over = new AbortController()
      const closed = new Promise<void>((resolve) => ws.once('close', () => resolve()))
      await Promise.race([closed, this.#parts.clock.sleep(GOODBYE_MS, over.signal).catch(() => undefined)])
      over.abort()
      ws.terminate()
    }
    await this.#running
  }

  #seatOf(session: SessionId): Seat {
    const known = this.#seats.get(session)
    if (known !== undefined) return known
    const seat: Seat = {
      session,
      state: 'out',
      token: null,
      after: null,
      beats: false,
      boxes: new Set(),
      taken: 0,
      refusals: 0,
      retryAt: 0,
    }
    this.#seats.set(session, seat)
    this.#running ??= this.#run()
    return seat
  }

  #remove(seat: Seat): void {
    this.#seats.delete(seat.session)
    if (seat.state !== 'out') this.#say({ t: 'leave', session: seat.session })
  }

  /** Joins, or joins anew: with the present token, and from where its readers are. */
  #join(seat: Seat): void {
    const { session } = seat
    const token = this.#parts.token(session)
    if (this.#challenge === null || token === undefined) return
    const after = cursorOf(seat)
    seat.state = 'asking'
    seat.token = token
    seat.after = after
    seat.taken = 0
    this.#say({ t: 'join', session, after, proof: joinProof(token, this.#challenge, session, after) })
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    const { clock, chance, log } = this.#parts
    const care = new Loop({
      clock,
      signal,
      step: async () => {
        this.#care()
        return this.#probeMs / 2
      },
      onError: (error) => {
        log.error('caring for the link failed', { error })
        return this.#probeMs
      },
    })
    while (!signal.aborted) {
      await this.#connect()
      if (signal.aborted) break
      await clock.sleep(backoff(this.#attempt, RECONNECT, chance), signal).catch(() => undefined)
      this.#attempt += 1
    }
    await care.done
  }

  /** One socket, from its opening to its end. */
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
      if (fault === null && !/^E[A-Z]/.test(String((error as NodeJS.ErrnoException).code))) this.#unwelcome += 1
    })
    ws.on('message', (data, isBinary) => this.#hear(isBinary ? null : read(data as Buffer)))
    await new Promise<void>((resolve) => {
      ws.once('close', (code, reason) => {
        why ||= `closed with ${code} ${reason}`
        resolve()
      })
    })
    const was = this.#challenge !== null
    this.#lose()
    if (this.#closing.signal.aborted) return
    if (was) log.info('link lost', { why })
    else if (this.#attempt === 0) log.warn('link not to be had; it is tried again and again', { why })
  }

  #lose(): void {
    this.#ws = null
    this.#challenge = null
    this.#unansweredSince = null
    for (const seat of this.#seats.values()) {
      seat.state = 'out'
      for (const buffer of seat.boxes) buffer.wake()
    }
    for (const n of [...this.#pending.keys()]) this.#settle(n, lost())
  }

  #hear(frame: BridgeFrame | 'unknown' | null): void {
    this.#unansweredSince = null
    if (frame === 'unknown') return // from a bridge that knows more than this host
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
    this.#unwelcome = 0
    this.#parts.log.info('link open', { sessions: this.#seats.size })
    for (const seat of this.#seats.values()) this.#join(seat)
  }

  #onJoined({ session, after }: BridgeFrame & { readonly t: 'joined' }): void {
    const seat = this.#seats.get(session)
    if (seat?.state !== 'asking') return
    // An answer to an earlier join: what comes now begins elsewhere, and would hide what lies between.
    if (after !== undefined && after !== seat.after) return
    seat.state = 'in'
    seat.refusals = 0
    this.#attempt = 0
    for (const buffer of seat.boxes) buffer.wake()
  }

  #onRefused({ session, problem }: BridgeFrame & { readonly t: 'refused' }): void {
    const seat = this.#seats.get(session)
    if (seat === undefined) return
    const { clock, chance, log } = this.#parts
    seat.state = 'out'
    seat.retryAt = clock.now() + backoff(seat.refusals, REJOIN, chance)
    if (seat.refusals === 0) {
      log.warn('session refused by the bridge; it is tried again', { session, code: problem.code, why: problem.detail })
    }
    seat.refusals += 1
    for (const buffer of seat.boxes) buffer.wake()
  }

  #onMail({ session, message }: BridgeFrame & { readonly t: 'mail' }): void {
    const seat = this.#seats.get(session)
    // What comes before `joined` was sent for an earlier join, and is sent again for this one.
    if (seat?.state !== 'in') return
    for (const buffer of seat.boxes) buffer.put(message)
    // What all readers had before counts as taken too: the bridge waits to hear of all that it has sent.
    if (message.id <= (cursorOf(seat) ?? 0)) this.taken(session)
  }

  /** Now and then: is the bridge still there, has a credential changed, may one that was refused try again. */
  #care(): void {
    const now = this.#parts.clock.now()
    const stoodStillMs = Math.max(0, now - this.#caredAt - this.#probeMs)
    this.#caredAt = now
    if (this.#unansweredSince !== null) this.#unansweredSince += stoodStillMs // the answer may lie here unread
    const waited = this.#unansweredSince === null ? 0 : now - this.#unansweredSince
    if (this.#challenge === null) {
      if (this.#ws !== null && now - this.#connectedAt > 2 * CHALLENGE_MS) this.#ws.terminate()
    } else if (waited >= this.#probeMs * 1.5) this.#ws?.terminate()
    else if (now - this.#saidAt >= this.#probeMs) void this.beat([]).catch(() => undefined)
    for (const seat of [...this.#seats.values()]) this.#careFor(seat, now)
  }

  #careFor(seat: Seat, now: number): void {
    const token = this.#parts.token(seat.session)
    if (token === undefined) {
      if (seat.boxes.size === 0) this.#remove(seat)
      else if (seat.state !== 'out') this.#say({ t: 'leave', session: seat.session })
      seat.state = 'out'
    } else if (seat.token !== token || (seat.state === 'out' && now >= seat.retryAt)) this.#join(seat)
  }

  #ask(frame: (n: number) => HostFrame, isMark: boolean): Promise<void> {
    if (this.#challenge === null) return Promise.reject(lost())
    this.#said += 1
    const outcome = Promise.withResolvers<void>()
    this.#pending.set(this.#said, { isMark, outcome })
    if (isMark) this.#marks += 1
    this.#unansweredSince ??= this.#parts.clock.now()
    this.#say(frame(this.#said))
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

  #say(frame: HostFrame): void {
    if (this.#ws?.readyState !== WebSocket.OPEN) return
    this.#saidAt = this.#parts.clock.now()
    this.#ws.send(JSON.stringify(frame))
  }
}

/** From where a session's mail is wanted: the reader that is least far decides. Null when nobody reads. */
function cursorOf({ boxes }: Seat): number | null {
  return boxes.size === 0 ? null : Math.min(...[...boxes].map(({ cursor }) => cursor))
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
