import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { RawData, WebSocket } from 'ws'
import { S2Error } from '#fleet/errors.ts'
import { FrameSeal } from '#fleet/frame-seal.ts'
import { conversationOf, isObserver, type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import { frameKey, joinedProof, type SocketGreeting } from '#fleet/signature.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { BridgeFrame, HostFrame } from '#store/remote/frames.ts'
import { HOST_FRAMES, readFrame, TAKES_ACTIVITY, UNJOINED_FRAME_MAX } from '#store/remote/frames.ts'
import { toProblem } from '#store/remote/problem-details.ts'
import { withinRequest } from '#store/request-context.ts'
import type { Store } from '#store/store.ts'
import type { AddressLimits } from './address-limits.ts'
import { type Authentication, olderHost, unknownCaller } from './authentication.ts'
import type { BeatBatcher, BeatListener } from './beat-batcher.ts'
import { MailDelivery } from './mail-delivery.ts'
import { parseJson } from './parse-json.ts'
import { onlyReads } from './permissions.ts'
import { RateLimit } from './rate-limit.ts'
import type { RequestErrorLog } from './request-error-log.ts'
import type { SessionSeats } from './session-seats.ts'

export interface WebSocketConnectionParts {
  readonly store: Store
  readonly clock: Clock
  readonly chance: Chance
  readonly authentication: Authentication
  readonly errors: RequestErrorLog
  readonly beats: BeatBatcher
  readonly addresses: AddressLimits
  readonly seats: SessionSeats
  onBeat(): void
  onMail(): void
}

/** Where a socket comes from. */
export interface SocketOrigin {
  /** The bridge's name, as the host used it. */
  readonly authority: string
  /** What its address is counted as. */
  readonly address: string
  /** The first session has joined: this is a host of the fleet. */
  onProved(): void
}

const SIDES = ['a', 'b'] as const
/** Frames a minute, and what a join that fails costs of them. */
const FRAMES_PER_MINUTE = 60_000
const FAILED_JOIN_COST = 500
const SESSIONS_MAX = 1_000
const MARKS_UNDER_WAY_MAX = 100
/** Unsent bytes: above the first limit mail waits, above the second the host counts as gone. */
const WAITING_BYTES = 1024 * 1024
const WAITING_BYTES_MAX = 8 * 1024 * 1024
/** How long the host may take nothing while something waits for it. */
const SLOW_MS = 10_000
/** How long it may send nothing. A host sends something every few seconds. */
const QUIET_MS = 60_000
/** How long it may stay without joining for any session. */
const UNJOINED_MS = 5_000

interface Join {
  readonly session: SessionId
  readonly after: number | null
  readonly proof: string
  readonly greeting: SocketGreeting
  readonly mail: MailDelivery
}

/** One host's socket: its joined sessions, the mail that goes out to them, and the beats and marks that come in. */
export class WebSocketConnection implements BeatListener {
  readonly #ws: WebSocket
  readonly #parts: WebSocketConnectionParts
  readonly #wire: Duplex
  readonly #origin: SocketOrigin
  /** From the first join on: no frame counts without a seal. */
  #seal: FrameSeal | null = null
  readonly #challenge = randomBytes(24).toString('base64url')
  readonly #joins = new Map<SessionId, Join>()
  readonly #frames: RateLimit
  /** Joins and leaves happen one after the other, in the order they came. */
  #queueEnd: Promise<void> = Promise.resolve()
  #queued = 0
  #marks = 0
  /** Bytes since the last whole frame; counted until the first join. */
  #bytesOfFrame = 0
  #heardAt: number
  #unjoinedSince: number | null
  #slow: { readonly since: number; readonly over: PromiseWithResolvers<void> } | null = null

  constructor(ws: WebSocket, wire: Duplex, origin: SocketOrigin, parts: WebSocketConnectionParts) {
    this.#ws = ws
    this.#wire = wire
    this.#origin = origin
    this.#parts = parts
    this.#frames = new RateLimit(FRAMES_PER_MINUTE, parts.clock)
    this.#heardAt = parts.clock.now()
    this.#unjoinedSince = this.#heardAt
    ws.on('message', this.#onMessage)
    ws.on('error', () => ws.terminate()) // a frame that is too large, for one: who sends that is not asked to go
    ws.on('ping', () => {
      this.#heardAt = parts.clock.now()
      if (this.#frames.spend('') > 0) this.#cut('too many frames')
    })
    ws.on('close', this.#onClose)
    wire.on('drain', this.#onDrain)
    wire.on('data', this.#onUnjoinedBytes)
    this.#sendFrame({ t: 'challenge', challenge: this.#challenge, takes: [TAKES_ACTIVITY] })
  }

  get sessions(): number {
    return this.#joins.size
  }

  close(code: number, why: string): void {
    this.#ws.close(code, why)
  }

  terminate(): void {
    this.#ws.terminate()
  }

  /** Ends what is dead, slow or idle. */
  inspect(now: number): void {
    if (now - this.#heardAt > QUIET_MS) this.#ws.terminate()
    else if (this.#slow !== null && now - this.#slow.since > SLOW_MS) this.#ws.terminate()
    else if (this.#unjoinedSince !== null && now - this.#unjoinedSince > UNJOINED_MS) {
      this.#cut('no session has joined')
    }
  }

  /** The joined sessions of a conversation, or all of them. */
  sessionsOf(conversation: string | null): readonly SessionId[] {
    if (conversation === null) return [...this.#joins.keys()]
    return SIDES.map((side) => sessionId(conversation, side)).filter((session) => this.#joins.has(session))
  }

  /** Removes sessions whose token has ended since they joined. Where the store does not answer they stay. */
  async recheck(sessions: readonly SessionId[]): Promise<void> {
    for (const session of sessions) {
      const join = this.#joins.get(session)
      if (join === undefined) continue
      const { proof, greeting } = join
      const token = await this.#parts.authentication
        .tokenOfProof(proof, greeting, join, () => true)
        .catch(() => undefined)
      if (token !== null || this.#joins.get(session) !== join) continue
      this.#leave(session)
      this.#refuseJoin(session, unknownCaller())
    }
  }

  /** Tells the joined workers of these conversations; only they have cred-sync look for their credentials. Answers whether there was one. */
  hintCredentials(conversations: ReadonlySet<string>): boolean {
    const told = [...this.#joins.keys()].filter(
      (session) => sideOf(session) === 'b' && conversations.has(conversationOf(session)),
    )
    for (const session of told) this.#sendFrame({ t: 'credential', session })
    return told.length > 0
  }

  onBeatTaken(n: number): void {
    this.#send(`{"t":"done","n":${n}}`)
  }

  onBeatFailed(n: number, error: unknown): void {
    this.#fail(n, error, 'beat')
  }

  readonly #onMessage = (data: RawData, isBinary: boolean): void => {
    if (this.#ws.readyState !== this.#ws.OPEN) return // it was cut, and what it had said before is read no more
    this.#heardAt = this.#parts.clock.now()
    this.#bytesOfFrame = 0
    const frame = isBinary ? null : this.#read(data as Buffer)
    if (this.#frames.spend('') > 0) this.#cut('too many frames')
    else if (frame === null) this.#cut('that is not a frame')
    else if (this.#seal === null && (frame.t !== 'join' || this.#queued > 0)) this.#cut('a frame before it has joined')
    else if (frame.t === 'beat') this.#beat(frame)
    else if (frame.t === 'mark') this.#mark(frame)
    else if (frame.t === 'taken') this.#taken(frame)
    else this.#enqueue(frame)
  }

  #read(data: Buffer): HostFrame | null {
    if (this.#seal === null) return data.length > UNJOINED_FRAME_MAX ? null : parse(data)
    const text = this.#seal.open(data)
    return text === null ? null : parse(text)
  }

  /** Nobody known may have the bridge keep more than a small frame for it. */
  readonly #onUnjoinedBytes = (chunk: Buffer): void => {
    this.#bytesOfFrame += chunk.length
    if (this.#bytesOfFrame > 2 * UNJOINED_FRAME_MAX) this.#cut('a large frame before it has joined')
  }

  readonly #onClose = (): void => {
    for (const session of [...this.#joins.keys()]) this.#leave(session)
    this.#onDrain()
    this.#wire.off('drain', this.#onDrain)
  }

  #beat({ n, beats }: HostFrame & { readonly t: 'beat' }): void {
    if (beats.length === 0) {
      this.onBeatTaken(n)
      return
    }
    const { onBeat, beats: queue } = this.#parts
    // A session that was just removed has been told so: only the beats of the others count.
    const accepted = beats.every(({ session }) => this.#joins.has(session))
      ? beats
      : beats.filter(({ session }) => this.#joins.has(session))
    for (const _ of accepted) onBeat()
    queue.add(this, n, accepted)
  }

  #mark({ n, session, ids, mark }: HostFrame & { readonly t: 'mark' }): void {
    if (!this.#joins.has(session)) {
      this.#fail(n, unknownCaller(), 'mark')
      return
    }
    if (this.#marks >= MARKS_UNDER_WAY_MAX) {
      this.#cut('too many marks at once')
      return
    }
    this.#marks += 1
    const { store, clock, errors } = this.#parts
    withinRequest({ id: errors.nextId(), since: clock.now() }, () => store.mark(session, ids, mark))
      .then(
        () => this.#sendFrame({ t: 'done', n }),
        (error) => this.#fail(n, error, 'mark'),
      )
      .finally(() => {
        this.#marks -= 1
      })
  }

  #taken({ session, id }: HostFrame & { readonly t: 'taken' }): void {
    this.#joins.get(session)?.mail.taken(id)
  }

  #enqueue(frame: HostFrame & { readonly t: 'join' | 'leave' }): void {
    if (this.#queued >= 2 * SESSIONS_MAX) {
      this.#cut('too many joins at once')
      return
    }
    this.#queued += 1
    this.#queueEnd = this.#queueEnd
      .then(() => (frame.t === 'leave' ? this.#leave(frame.session) : this.#join(frame)))
      .catch((error) => this.#refuseJoin(frame.session, error))
      .finally(() => {
        this.#queued -= 1
      })
  }

  async #join({ session, after, nonce, proof }: HostFrame & { readonly t: 'join' }): Promise<void> {
    if (nonce === undefined) throw olderHost()
    if (isObserver(session)) throw onlyReads(session)
    if (this.#joins.size >= SESSIONS_MAX && !this.#joins.has(session)) {
      throw new S2Error('rate_limited', `one socket carries ${SESSIONS_MAX} sessions`, { next: 'open another' })
    }
    const greeting = { authority: this.#origin.authority, challenge: this.#challenge, nonce }
    const { authentication, addresses } = this.#parts
    const mayAsk = (): boolean => addresses.mayBeUnknown(this.#origin.address)
    const token = await authentication.tokenOfProof(proof, greeting, { session, after }, mayAsk)
    if (this.#ws.readyState !== this.#ws.OPEN) return
    this.#leave(session)
    if (token === null) {
      this.#countFailedJoin()
      throw unknownCaller()
    }
    if (!this.#parts.seats.take(session)) {
      throw new S2Error('rate_limited', `${session} has joined on too many sockets`, { next: 'close some of them' })
    }
    const join: Join = { session, after, proof, greeting, mail: this.#mailFor(session) }
    this.#joins.set(session, join)
    this.#unjoinedSince = null
    this.#sendFrame({ t: 'joined', session, after, proof: joinedProof(token, greeting, join) })
    if (this.#seal === null) this.#onProved(frameKey(token, greeting))
    if (after !== null) void join.mail.run(after)
  }

  /** The answer to the first join was the last frame without a seal. */
  #onProved(key: Buffer): void {
    this.#seal = new FrameSeal(key, 'bridge')
    this.#wire.off('data', this.#onUnjoinedBytes)
    this.#origin.onProved()
  }

  #countFailedJoin(): void {
    const isAllowed = this.#parts.addresses.spendUnknown(this.#origin.address)
    if (this.#frames.spend('', FAILED_JOIN_COST) > 0 || !isAllowed) this.#cut('too many frames')
  }

  #leave(session: SessionId): void {
    const join = this.#joins.get(session)
    if (join === undefined) return
    this.#joins.delete(session)
    this.#parts.seats.leave(session)
    join.mail.end()
    if (this.#joins.size === 0) this.#unjoinedSince = this.#parts.clock.now()
  }

  #mailFor(session: SessionId): MailDelivery {
    return new MailDelivery({
      ...this.#parts,
      session,
      untilWireHasRoom: () => this.#untilWireHasRoom(),
      send: (message) => {
        this.#sendFrame({ t: 'mail', session, message })
        this.#parts.onMail()
      },
    })
  }

  #untilWireHasRoom(): Promise<void> | null {
    if (this.#ws.bufferedAmount <= WAITING_BYTES) return null
    this.#slow ??= { since: this.#parts.clock.now(), over: Promise.withResolvers() }
    return this.#slow.over.promise
  }

  readonly #onDrain = (): void => {
    this.#slow?.over.resolve()
    this.#slow = null
  }

  /** Ends the socket of whoever does not keep to the rules, without a word: asked to close it, it might not. */
  #cut(why: string): void {
    this.#parts.errors.report(new S2Error('invalid', why), 'socket', [...this.#joins.keys()][0] ?? this.#origin.address)
    this.#ws.terminate()
  }

  #refuseJoin(session: SessionId, error: unknown): void {
    const id = this.#parts.errors.report(error, 'join', null, undefined, session)
    this.#sendFrame({ t: 'refused', session, problem: toProblem(error, id) })
  }

  #fail(n: number, error: unknown, what: string): void {
    const id = this.#parts.errors.report(error, what, null)
    this.#sendFrame({ t: 'failed', n, problem: toProblem(error, id) })
  }

  #sendFrame(frame: BridgeFrame): void {
    this.#send(JSON.stringify(frame))
  }

  #send(text: string): void {
    if (this.#ws.readyState !== this.#ws.OPEN) return
    if (this.#ws.bufferedAmount > WAITING_BYTES_MAX) {
      this.#ws.terminate()
      return
    }
    this.#ws.send(this.#seal === null ? text : this.#seal.seal(text))
  }
}

function parse(data: Buffer): HostFrame | null {
  try {
    return readFrame(HOST_FRAMES, parseJson(data))
  } catch {
    return null
  }
}
