import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { readCertificateFacts } from '#fleet/certificate-parser.ts'
import { systemClock } from '#runtime/clock.ts'
import { askHealth, healthSocket, type ProgramHealth } from '#runtime/health-client.ts'
import { makeCertificate } from '../bridge/certificate.ts'
import { freePort } from '../port.ts'
import { mainOf, Program } from '../program.ts'
import { until } from '../until.ts'

const DAY_MS = 86_400_000

/** An orchestrator and a worker's host that share a git remote and the bridge's address, and no setting of certificates. */
class Fleet implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-certificate-story-'))
  readonly tls = join(this.folder, 'tls')
  readonly #remote = join(this.folder, 'remote.git')
  readonly #worker = join(this.folder, 'worker')
  readonly #programs = new AsyncDisposableStack()
  #lead: Readonly<Record<string, string>> = {}

  port = 0

  async raise(): Promise<Program> {
    const port = await freePort()
    this.port = port
    this.#lead = {
      S2_STATE: join(this.folder, 'lead'),
      S2_BRIDGE_URL: `https://localhost:${port}`,
      S2_LISTEN: `127.0.0.1:${port}`,
      S2_GIT_REMOTE: this.#remote,
      S2_TLS_CERT: join(this.tls, 'bridge.crt'),
      S2_TLS_KEY: join(this.tls, 'bridge.key'),
      S2_TLS_CA: join(this.tls, 'ca.crt'),
    }
    execFileSync('git', ['init', '--quiet', '--bare', '--initial-branch=main', this.#remote], { env: plainEnv() })
    this.s2('keys', 'tls', '--name', 'localhost', '--folder', this.tls)
    const bridge = await this.bridge()
    this.start('cred-sync', { ...this.#lead, S2_ISSUER: 'yes', S2_GIT_POLL: '500ms' })
    const line = this.s2('worker', 'invite', '3', '--role', 'tests')
    this.onWorker('worker', 'join', line.trim())
    this.start('cred-sync', { S2_STATE: this.#worker, S2_GIT_POLL: '500ms' })
    return bridge
  }

  async bridge(): Promise<Program> {
    const bridge = this.start('bridge', this.#lead)
    await bridge.says('listening')
    return bridge
  }

  start(
    program: string,
    settings: Readonly<Record<string, string>> = { S2_STATE: this.#worker, S2_BEAT: '500ms' },
  ): Program {
    return this.#programs.use(new Program(mainOf(program), settings))
  }

  s2(...words: string[]): string {
    return execFileSync(process.execPath, [mainOf('cli'), ...words], {
      env: { ...plainEnv(), ...this.#lead },
      encoding: 'utf8',
    })
  }

  /** The same on the worker's host. */
  onWorker(...words: string[]): string {
    const env = { ...plainEnv(), S2_STATE: this.#worker }
    const { stdout, stderr } = spawnSync(process.execPath, [mainOf('cli'), ...words], { env, encoding: 'utf8' })
    return stdout + stderr
  }

  async health(whose: 'bridge' | 'keepalive'): Promise<ProgramHealth> {
    const state = whose === 'bridge' ? join(this.folder, 'lead') : this.#worker
    return await askHealth(whose, { path: healthSocket(state, whose) }, systemClock)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#programs.disposeAsync()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

function plainEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(S2_|GIT_|NODE_EXTRA_CA_CERTS)/.test(name)),
  )
}

/** The certificate that a caller is shown. */
async function shown(port: number): Promise<X509Certificate | undefined> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false })
  try {
    await once(socket, 'secureConnect')
    return socket.getPeerX509Certificate()
  } finally {
    socket.destroy()
  }
}

test('a worker trusts the bridge by its credential alone, and its certificate is renewed', {
  timeout: 600_000,
}, async (t) => {
  await using fleet = new Fleet()
  const first = await fleet.raise()
  const keepalive = fleet.start('keepalive')
  const at = (name: string): string => join(fleet.tls, name)
  const incidents = (): string[] =>
    (JSON.parse(fleet.s2('incident', 'list', '--json')) as { cause: string }[]).map(({ cause }) => cause)

  await t.test('its keepalive and its command reach the bridge', async () => {
    await keepalive.says('link open')
    assert.match(fleet.onWorker('status'), /s2-worker-3/)
  })

  await t.test('a renewal under the same authority is taken over while all runs', async () => {
    fleet.s2('keys', 'tls', '--name', 'bridge.test')
    assert.match(fleet.s2('certificate', 'show'), /localhost, bridge\.test/)
    const renewed = new X509Certificate(readFileSync(at('bridge.crt')))
    await until(
      'the new one is shown',
      async () => (await shown(fleet.port))?.fingerprint256 === renewed.fingerprint256,
    )
    assert.match(fleet.onWorker('status'), /s2-worker-3/)
  })

  await t.test('one that has expired is told on both hosts, in plain words', async () => {
    const by = {
      subject: readCertificateFacts(readFileSync(at('ca.crt'), 'utf8')).subject,
      key: readFileSync(at('ca.key'), 'utf8'),
    }
    const late = makeCertificate(new Date(), '127.0.0.1', { by, validMs: [-2 * DAY_MS, -DAY_MS] })
    writeFileSync(at('bridge.key'), late.key)
    writeFileSync(at('bridge.crt'), late.cert)
    const trouble = async (): Promise<string> => (await fleet.health('bridge')).troubles.certificate ?? ''
    await until('the bridge tells it', async () => /has expired on \S+: no worker gets through/.test(await trouble()))
    assert.deepEqual(incidents(), ['certificate:expired'])
    await first.end()
    await fleet.bridge()
    const told = async (): Promise<string> => Object.values((await fleet.health('keepalive')).troubles).join('\n')
    const plain =
      /https:\S+ cannot be reached since \S+: .*: its certificate has expired; renew it on the bridge’s host/
    await until('the worker tells it', async () => plain.test(await told()))
    assert.match(fleet.onWorker('status'), /its certificate has expired\n {2}next: renew it on the bridge’s host/)
    assert.match(fleet.onWorker('health', 'keepalive', '--json'), /its certificate has expired; renew it/)
    assert.deepEqual(incidents(), ['certificate:expired'], 'the next life of the bridge opens no other one')
  })

  await t.test('renewed, it is over by itself', async () => {
    fleet.s2('keys', 'tls')
    await until('the worker is back', async () => (await fleet.health('keepalive')).ready)
    await until('the incident is closed', () => incidents().length === 0)
  })
})
