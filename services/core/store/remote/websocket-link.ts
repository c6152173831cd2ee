import { randomBytes } from 'node:crypto'
import { WebSocket } from 'ws'
import { type Beat, withoutActivity } from '#fleet/beat.ts'
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
import { type BridgeFrame, CLOSE, type HostFrame, readBridgeFrame, TAKES_ACTIVITY } from './frames.ts'
import type { BridgeAddressee } from './http-client.ts'
import { LinkSession } from './link-session.ts'
import type { MailBuffer } from './mail-buffer.ts'
import { fromProblem } from './problem-details.ts'
import { SilenceCheck } from './silence-check.ts'
import { adviceOnCertificate } from './tls-error-advice.ts'
import { UnansweredFrames } from './unanswered-frames.ts'

export interface WebSocketLinkParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  /** The token of a session now; asked before every join, as credentials change. */
  token(session: SessionId): string | undefined
  /** The bridge says that there may be a new credential for a session. */
  onCredential(session: SessionId): void
  /** The bridge refuses a session, at its join or after it, for a reason that does not pass by itself. */
  onRefused(session: SessionId): void
}

const RECONNECT = { firstMs: 250, mostMs: 5_000 }
/** How long a bridge may take to send its challenge once connected. */
const CHALLENGE_MS = 10_000
const FRAME_MAX = 4 * 1024 * 1024
const GOODBYE_MS = 500

/** The join whose answer will show whether this is the bridge: until then no other is sent, and nothing else. */
interface FirstJoin extends JoinedSession {
  readonly token: string
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
  readonly #sessions = new Map<SessionId, LinkSession>()
  readonly #unanswered = new UnansweredFrames()
  readonly #closing = new AbortController()
  #running: Promise<unknown> | null = null
  #ws: WebSocket | null = null
  /** Whether the bridge understands beats that say what a client does. */
  #takesActivity = false
  /** What both sides know of this connection; null before the bridge has sent its challenge. */
  #greeting: SocketGreeting | null = null
  #first: FirstJoin | null = null
  /** From the first join on: by then the bridge has proved that it knows the token. */
  #seal: FrameSeal | null = null
  #connectedAt = 0
  readonly #reconnects: Pauses
  /** How often in a row something answered that lets no WebSocket through. */
  #barredCount = 0
  readonly #silence: SilenceCheck

  /** `probeMs`: how long this host may send nothing before it asks whether the bridge still answers. */
  constructor(target: Extract<BridgeAddressee, { origin: URL }>, probeMs: number, parts: WebSocketLinkParts) {
    this.#url = new URL('/v1/socket', target.origin.href.replace(/^http/, 'ws'))
    this.#target = target
    this.#probeMs = probeMs
    this.#parts = parts
    this.#reconnects = new Pauses(RECONNECT, parts.chance)
    this.#silence = new SilenceCheck(probeMs, parts.clock.now())
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
    return this.#sessions.get(session)?.isJoined === true
  }

  /** Joins a session that beats, unless it has joined; one whose token has changed joins again before the old token ends. */
  ensureJoined(session: SessionId): void {
    const entry = this.#entryOf(session)
    const hasChanged = entry.isJoined && !entry.hasTried(this.#parts.token(session))
    if (entry.beats && !hasChanged) return
    entry.beats = true
    this.#join(entry)
  }

  /** Opens a buffer that gets the session's mail from a cursor on. */
  open(session: SessionId, after: number): MailBuffer {
    const entry = this.#entryOf(session)
    const buffer = entry.addReader(after)
    this.#join(entry)
    return buffer
  }

  close(session: SessionId, buffer: MailBuffer): void {
    const entry = this.#sessions.get(session)
    if (entry?.removeReader(buffer) !== true || entry.hasReaders || this.#closing.signal.aborted) return
    if (entry.beats) this.#join(entry)
    else this.#remove(entry)
  }

  /** A reader has dealt with so many messages out of its buffer. */
  taken(session: SessionId, count: number): void {
    const entry = this.#sessions.get(session)
    if (entry?.mustTellTaken(count) === true) this.#sendFrame({ t: 'taken', session, id: entry.cursor ?? 0 })
  }

  /** Beats for sessions that have joined; settles when the bridge has them. `unavailable` when the socket is lost first. */
  beat(beats: readonly Beat[]): Promise<void> {
    return this.#ask((n) => ({ t: 'beat', n, beats: this.#takesActivity ? beats : beats.map(withoutActivity) }), false)
  }

  async mark(session: SessionId, ids: readonly number[], mark: Mark): Promise<void> {
    const room = this.#unanswered.untilMarkHasRoom()
    if (room !== null) await room
    await this.#ask((n) => ({ t: 'mark', n, session, ids, mark }), true)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    for (const entry of this.#sessions.values()) entry.wakeReaders()
    const ws = this.#ws
    if (ws !== null) {
      ws.close(CLOSE.done)
      await waitAtMost(new Promise((resolve) => ws.once('close', resolve)), GOODBYE_MS, this.#parts.clock)
      ws.terminate()
    }
    await this.#running
  }

  #entryOf(session: SessionId): LinkSession {
    const known = this.#sessions.get(session)
    if (known !== undefined) return known
    const entry = new LinkSession(session, this.#parts.chance)
    this.#sessions.set(session, entry)
    this.#running ??= this.#run()
    return entry
  }

  #remove(entry: LinkSession): void {
    this.#sessions.delete(entry.session)
    if (entry.isThere) this.#leave(entry.session)
  }

  #leave(session: SessionId): void {
    if (this.#seal !== null) this.#sendFrame({ t: 'leave', session })
  }

  /** Joins, or joins again: with the token of now, and from the readers' cursor. Waits for its turn until one has joined. */
  #join(entry: LinkSession): void {
    const greeting = this.#greeting
    const token = this.#parts.token(entry.session)
    if (greeting === null || token === undefined) return
    if (this.#seal === null && this.#first !== null) {
      entry.leaves()
      return
    }
    const joining = entry.joins(token)
    if (this.#seal === null) this.#first = { ...joining, token }
    this.#sendFrame({ t: 'join', ...joining, nonce: greeting.nonce, proof: joinProof(token, greeting, joining) })
  }

  /** Joins those that waited for their turn. */
  #joinOthers(): void {
    const now = this.#parts.clock.now()
    for (const entry of this.#sessions.values()) if (entry.isDue(now)) this.#join(entry)
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
    this.#silence.heard()
    for (const entry of this.#sessions.values()) {
      entry.leaves()
      entry.wakeReaders()
    }
    this.#unanswered.failAll(lost)
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    const text = isBinary ? null : this.#seal === null ? data : this.#seal.open(data)
    const frame = text === null ? null : readBridgeFrame(text)
    this.#silence.heard()
    if (frame === 'unknown') return // a kind of frame that only newer hosts know
    if (frame === null) this.#cut('a frame that is none of the bridge’s')
    else if (this.#seal === null && !OPENING.includes(frame.t)) this.#cut('a frame before the bridge has proved itself')
    else this.#onFrame(frame)
  }

  #onFrame(frame: BridgeFrame): void {
    if (frame.t === 'mail') this.#onMail(frame)
    else if (frame.t === 'credential') this.#parts.onCredential(frame.session)
    else if (frame.t === 'done') this.#unanswered.settle(frame.n, null)
    else if (frame.t === 'failed') this.#unanswered.settle(frame.n, fromProblem(frame.problem) ?? lost())
    else if (frame.t === 'challenge') this.#onChallenge(frame)
    else if (frame.t === 'joined') this.#onJoined(frame)
    else this.#onRefused(frame)
  }

  /** Ends a socket whose other end is not the bridge, or not to be understood. */
  #cut(why: string): void {
    this.#parts.log.warn('link cut', { why })
    this.#ws?.terminate()
  }

  #onChallenge({ challenge, takes = [] }: BridgeFrame & { readonly t: 'challenge' }): void {
    if (this.#greeting !== null) return
    this.#takesActivity = takes.includes(TAKES_ACTIVITY)
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
    else if (entry.accept({ session, after }, proof, greeting)) this.#reconnects.succeeded()
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

  #onRefused({ session, problem }: BridgeFrame & { readonly t: 'refused' }): void {
    if (this.#first?.session === session) this.#first = null
    const entry = this.#sessions.get(session)
    if (entry !== undefined) this.#onEntryRefused(entry, problem)
    if (this.#seal === null && this.#first === null) this.#joinOthers()
  }

  #onEntryRefused(entry: LinkSession, problem: (BridgeFrame & { readonly t: 'refused' })['problem']): void {
    const { session } = entry
    const { clock, log, onRefused } = this.#parts
    const { isFirst, isNews } = entry.refuse(clock.now())
    if (isFirst) {
      log.warn('session refused by the bridge, retrying', { session, code: problem.code, why: problem.detail })
    }
    // One join is refused once: who says it again, as anybody can before the bridge has proved itself, is not heard.
    if (isNews && !isPassing(fromProblem(problem))) onRefused(session)
  }

  #onMail({ session, message }: BridgeFrame & { readonly t: 'mail' }): void {
    const entry = this.#sessions.get(session)
    // Mail that comes before `joined` belongs to an earlier join, and is sent again for this one.
    if (entry?.isJoined !== true) return
    entry.put(message)
    // A message that all readers had before counts as taken too: the bridge counts everything that it sent.
    if (message.id <= (entry.cursor ?? 0)) this.taken(session, 1)
  }

  /** Regularly: whether the bridge still answers, a token has changed, or a refused session may join again. */
  #check(): void {
    const now = this.#parts.clock.now()
    const silence = this.#silence.look(now)
    if (this.#seal === null) {
      if (this.#ws !== null && now - this.#connectedAt > 2 * CHALLENGE_MS) this.#ws.terminate()
    } else if (silence === 'gone') this.#ws?.terminate()
    else if (silence === 'ask') void this.beat([]).catch(() => undefined)
    for (const entry of [...this.#sessions.values()]) this.#checkSession(entry, now)
  }

  #checkSession(entry: LinkSession, now: number): void {
    const token = this.#parts.token(entry.session)
    if (token === undefined) {
      if (!entry.hasReaders) this.#remove(entry)
      else if (entry.isThere) this.#leave(entry.session)
      entry.leaves()
    } else if (!entry.hasTried(token) || entry.isDue(now)) this.#join(entry)
  }

  #ask(frame: (n: number) => HostFrame, isMark: boolean): Promise<void> {
    if (this.#seal === null) return Promise.reject(lost())
    const { n, answered } = this.#unanswered.add({ isMark })
    this.#silence.asked(this.#parts.clock.now())
    this.#sendFrame(frame(n))
    return answered
  }

  #sendFrame(frame: HostFrame): void {
    if (this.#ws?.readyState !== WebSocket.OPEN) return
    this.#silence.sent(this.#parts.clock.now())
    const text = JSON.stringify(frame)
    this.#ws.send(this.#seal === null ? text : this.#seal.seal(text))
  }
}

/** What anybody may say before the bridge has proved itself: none of it is acted upon but by trying to join. */
const OPENING: readonly BridgeFrame['t'][] = ['challenge', 'joined', 'refused']

function lost(): S2Error {
  return new S2Error('unavailable', 'the socket to the bridge was lost', { next: 'try again' })
}
