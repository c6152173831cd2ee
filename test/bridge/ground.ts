/** A bridge over a store in memory, in a folder of its own, and what tests ask of it. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import type { OpenedConversation } from '#fleet/conversation.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { type Signer, sign } from '#fleet/signature.ts'
import { type Clock, systemChance, systemClock } from '#runtime/clock.ts'
import { Health } from '#runtime/health.ts'
import { recordingLog } from '#runtime/log.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import type { Keyring } from '#store/remote/keyring.ts'
import { openRemoteStore, type RemoteOptions, type RemoteStore } from '#store/remote/remote.ts'
import type { Store, StoreParts } from '#store/store.ts'
import { type Config, readConfig } from '../../services/bridge/config.ts'
import { CALLER_TIMEOUTS, type CallerTimeouts } from '../../services/bridge/http-servers.ts'
import { type Bridge, openBridge } from '../../services/bridge/open-bridge.ts'
import { MovableClock } from '../movable-clock.ts'

export interface Seat {
  readonly session: SessionId
  readonly token: string
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into whatever came
  readonly json: any
}

export interface Ask {
  readonly method?: string
  readonly path?: string
  readonly headers?: object
  readonly body?: string | Buffer
}

/** For callers who are slow on purpose. To the others a bridge is as patient as ever: this machine may stall. */
export const HASTY: CallerTimeouts = { headersMs: 500, requestMs: 1_000, inspectMs: 50 }

interface GroundOptions {
  readonly patience?: CallerTimeouts
  readonly openStore?: (parts: StoreParts, state: string) => Promise<Store>
  readonly clock?: Clock
}

export class Ground implements AsyncDisposable {
  readonly state: string
  readonly config: Config
  store!: Store
  readonly clock: MovableClock
  readonly clientClock: MovableClock
  readonly log = recordingLog()
  readonly clientLog = recordingLog()
  health = new Health()
  bridge!: Bridge
  readonly #patience: CallerTimeouts
  #draining = new AbortController()
  readonly #stores: RemoteStore[] = []
  readonly #tokens: string[] = []

  private constructor(state: string, config: Config, clock: Clock, patience: CallerTimeouts) {
    this.#patience = patience
    this.state = state
    this.config = config
    this.clock = new MovableClock(clock)
    this.clientClock = new MovableClock(clock)
  }

  static async open(
    env: Readonly<Record<string, string>> = {},
    { openStore, clock, patience }: GroundOptions = {},
  ): Promise<Ground> {
    const state = await mkdtemp(join(tmpdir(), 's2-bridge-'))
    const config = readConfig({ S2_STATE: state, S2_LISTEN: '127.0.0.1:0', S2_RATE: '100000', ...env })
    const ground = new Ground(
      state,
      config,
      clock ?? systemClock,
      patience ?? { ...CALLER_TIMEOUTS, inspectMs: HASTY.inspectMs },
    )
    ground.store = (await openStore?.(ground.parts, state)) ?? openMemoryStore(ground.parts)
    await ground.start()
    return ground
  }

  get parts(): StoreParts {
    return { clock: this.clock, chance: systemChance, log: this.log }
  }

  get port(): number {
    return Number(new URL(this.bridge.url).port)
  }

  get admin(): string {
    return `unix:${this.config.admin}`
  }

  /** A bridge refuses what was signed before it began; `ripe` makes it have begun long ago. */
  async start(ripe = true): Promise<void> {
    this.#draining = new AbortController()
    this.health = new Health()
    const { offsetMs } = this.clock
    if (ripe) this.clock.offsetMs -= 100_000
    this.bridge = await openBridge(
      this.config,
      this.store,
      {
        ...this.parts,
        health: this.health,
        draining: this.#draining.signal,
      },
      this.#patience,
    )
    this.clock.offsetMs = offsetMs
  }

  async stop(): Promise<void> {
    this.#draining.abort()
    await this.bridge[Symbol.asyncDispose]()
  }

  /** The same bridge again, on the same port. */
  async restart(ripe = true): Promise<void> {
    const { port } = this
    await this.stop()
    Object.assign(this, { config: Object.freeze({ ...this.config, listen: { host: '127.0.0.1', port } }) })
    await this.start(ripe)
  }

  async channel(
    worker = 's2-worker-1',
    lead = 'orchestrator',
    lifetimeMs = 3_600_000,
  ): Promise<{ opened: OpenedConversation; a: Seat; b: Seat }> {
    const opened = await this.store.openConversation({
      roles: { a: 'orchestrator', b: 'tests' },
      agents: { a: lead, b: worker },
      lifetimeMs,
    })
    this.#tokens.push(...Object.values(opened.tokens))
    const seat = (side: 'a' | 'b'): Seat => ({ session: sessionId(opened.id, side), token: opened.tokens[side] })
    return { opened, a: seat('a'), b: seat('b') }
  }

  /** The fleet as these sessions see it over the network. */
  as(seats: readonly Seat[] | Map<SessionId, string>, options: RemoteOptions = {}, authority?: string): RemoteStore {
    const tokens = seats instanceof Map ? seats : new Map(seats.map(({ session, token }) => [session, token]))
    return this.remote(
      this.bridge.url,
      { token: (session) => tokens.get(session), sessions: () => [...tokens.keys()], authority: () => authority },
      options,
    )
  }

  remote(url: string, keyring: Keyring | null, options: RemoteOptions = {}): RemoteStore {
    const store = openRemoteStore(
      url,
      keyring,
      { clock: this.clientClock, chance: systemChance, log: this.clientLog },
      options,
    )
    this.#stores.push(store)
    return store
  }

  signed(seat: Seat, body: string | Buffer, over: Partial<Signer> & { path?: string; authority?: string } = {}) {
    const { path = '/v1/send', authority = `127.0.0.1:${this.port}`, ...signer } = over
    return sign(
      { method: 'POST', authority, path, query: '?', body: Buffer.from(body) },
      {
        ...seat,
        created: Math.floor(this.clientClock.wall() / 1000),
        nonce: randomBytes(16).toString('base64url'),
        ...signer,
      },
    )
  }

  /** A send that is signed well, unless something is put in its place. */
  async send(
    seat: Seat,
    over: Ask & { readonly signer?: Partial<Signer> & { readonly authority?: string } } = {},
  ): Promise<Answer> {
    const body =
      over.body ?? JSON.stringify({ from: seat.session, key: randomBytes(8).toString('hex'), draft: { text: 'hello' } })
    return await this.ask({ ...over, body, headers: { ...this.signed(seat, body, over.signer), ...over.headers } })
  }

  ask({ method = 'POST', path = '/v1/send', headers = {}, body = '' }: Ask): Promise<Answer> {
    return ask({ host: '127.0.0.1', port: this.port }, { method, path, headers, body })
  }

  askAdmin(verb: string, input: unknown): Promise<Answer> {
    return ask({ socketPath: this.config.admin }, { method: 'POST', path: `/v1/${verb}`, body: JSON.stringify(input) })
  }

  /** A bare connection. */
  async wire(): Promise<Socket> {
    const socket = connect({ host: '127.0.0.1', port: this.port })
    await new Promise<void>((resolve, reject) => socket.once('connect', () => resolve()).once('error', reject))
    return socket
  }

  metric(name: string): number {
    return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(this.health.metrics.text())?.[1])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#stores.map((store) => store[Symbol.asyncDispose]()))
    await this.stop()
    await this.store[Symbol.asyncDispose]()
    await rm(this.state, { recursive: true, force: true })
    const said = inspect([this.log.records, this.clientLog.records], { depth: 20, maxArrayLength: null })
    for (const token of this.#tokens) assert.ok(!said.includes(token), 'a token was logged')
  }
}

function ask(
  where: { host: string; port: number } | { socketPath: string },
  { method, path, headers, body = '' }: Ask,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const all = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers }
    const given = Object.entries(all).filter(([, value]) => value !== undefined)
    const request = httpRequest({
      ...where,
      method,
      path,
      agent: false,
      headers: Object.fromEntries(given),
    })
    request.on('error', reject)
    request.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          json: text === '' ? null : JSON.parse(text),
        })
      })
    })
    request.end(body)
  })
}
