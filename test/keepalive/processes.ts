/** A real bridge and a real keepalive, bundled as users run them, and both ends of a conversation. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import type { OpenedConversation } from '#fleet/conversation.ts'
import type { Credential } from '#fleet/credential.ts'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { Inbox } from '#spool/inbox.ts'
import { Outbox } from '#spool/outbox.ts'
import { openRemoteStore, type RemoteStore } from '#store/remote/remote.ts'
import { bundling } from '../../deploy/bundling.ts'
import { ask } from '../ask.ts'
import { freePort } from '../port.ts'
import { Program } from '../program.ts'

const ROOT = join(import.meta.dirname, '../..')
const PARTS = { clock: systemClock, chance: systemChance, log: recordingLog() }

export class Stage implements AsyncDisposable {
  readonly folder: string
  readonly #dist: string
  readonly port: number
  readonly #running: Program[] = []
  readonly #stores: RemoteStore[] = []

  private constructor(folder: string, dist: string, port: number) {
    this.folder = folder
    this.#dist = dist
    this.port = port
  }

  static async open(): Promise<Stage> {
    // Beside the packages, where the bundle finds those that are not in it.
    const cache = join(ROOT, 'node_modules/.cache')
    mkdirSync(cache, { recursive: true })
    const dist = mkdtempSync(join(cache, 's2-keepalive-test-'))
    const entryPoints = { keepalive: 'services/keepalive/main.ts', bridge: 'services/bridge/main.ts' }
    await build({ ...bundling(entryPoints), absWorkingDir: ROOT, outdir: dist })
    cpSync(join(ROOT, 'services/core/store/sqlite/file/migrations'), join(dist, 'migrations'), { recursive: true })
    return new Stage(mkdtempSync(join(tmpdir(), 's2-stage-')), dist, await freePort())
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get admin(): RemoteStore {
    return this.#keep(openRemoteStore(`unix:${join(this.folder, 'bridge/run/admin.sock')}`, null, PARTS))
  }

  async bridge(): Promise<Program> {
    const bridge = this.#start('bridge', {
      S2_STATE: join(this.folder, 'bridge'),
      S2_LISTEN: `127.0.0.1:${this.port}`,
      S2_RATE: '10000000',
      S2_LOG_LEVEL: 'info',
    })
    await bridge.says('ready')
    return bridge
  }

  keepalive(host: Host, settings: Readonly<Record<string, string>> = {}): Program {
    return this.#start('keepalive', { S2_STATE: host.state, S2_HOST: 'test-host', S2_BEAT: '250ms', ...settings })
  }

  /** `name` is its folder too: a second host of that name would begin with the mail and the credential of the first. */
  async host(name: string): Promise<Host> {
    const state = join(this.folder, name)
    if (existsSync(state)) throw new Error(`another test has a host ${name}`)
    const opened = await this.admin.openConversation({
      roles: { a: 'orchestrator', b: 'tests' },
      agents: { a: 'orchestrator', b: name },
      lifetimeMs: 3_600_000,
    })
    return new Host(state, opened, this.url, name)
  }

  /** The bridge, as one session speaks to it. */
  as(session: SessionId, token: string): RemoteStore {
    return this.#keep(openRemoteStore(this.url, { token: () => token, sessions: () => [session] }, PARTS))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#stores.map((store) => store[Symbol.asyncDispose]()))
    await Promise.all(this.#running.map((each) => each.end('SIGKILL')))
    rmSync(this.folder, { recursive: true, force: true })
    rmSync(this.#dist, { recursive: true, force: true })
  }

  #start(name: string, env: Readonly<Record<string, string>>): Program {
    const running = new Program(join(this.#dist, `${name}.js`), env)
    this.#running.push(running)
    return running
  }

  #keep(store: RemoteStore): RemoteStore {
    this.#stores.push(store)
    return store
  }
}

/** A worker's host: its state folder, and what its agent does there. */
export class Host {
  readonly state: string
  readonly a: SessionId
  readonly b: SessionId
  readonly opened: OpenedConversation
  readonly credential: Credential
  readonly inbox: Inbox
  readonly outbox: Outbox

  constructor(state: string, opened: OpenedConversation, bridgeUrl: string, agent: string) {
    this.state = state
    this.opened = opened
    this.a = sessionId(opened.id, 'a')
    this.b = sessionId(opened.id, 'b')
    const { createdAt, expiresAt, tokens } = opened
    this.credential = { session: this.b, token: tokens.b, agent, role: 'tests', bridgeUrl, createdAt, expiresAt }
    this.inbox = new Inbox(state)
    this.outbox = new Outbox(state)
  }

  /** What `/readyz` and the like answer. */
  async ask(path: string): Promise<{ readonly status: number; readonly text: string }> {
    return await ask(join(this.state, 'run/keepalive.sock'), path)
  }
}
