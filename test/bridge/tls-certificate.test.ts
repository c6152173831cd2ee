import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { connect } from 'node:tls'
import { systemClock } from '#runtime/clock.ts'
import { Health } from '#runtime/health.ts'
import { recordingLog } from '#runtime/log.ts'
import { openMemoryStore } from '#store/memory/memory.ts'
import { CALLER_TIMEOUTS, makeServer } from '../../services/bridge/http-servers.ts'
import { CertificateWatch, readCertificate } from '../../services/bridge/tls-certificate.ts'
import { until } from '../until.ts'
import { makeCertificate, type Pair } from './certificate.ts'
import { Ground } from './ground.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-tls-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const DAY_MS = 86_400_000
const NOW = Date.parse('2026-01-01T00:00:00Z')
const lasting = (days: number): Pair =>
  makeCertificate(new Date(NOW), '127.0.0.1', { validMs: [-DAY_MS, days * DAY_MS] })

/** A server with its certificate in files, looked after under a clock that is set by hand. */
class Stage implements AsyncDisposable {
  wall = NOW
  readonly paths: { cert: string; key: string; ca: string | null }
  readonly health = new Health()
  readonly store = openMemoryStore({ clock: systemClock })
  readonly server: ReturnType<typeof makeServer>
  readonly watch: CertificateWatch

  private constructor(paths: Stage['paths'], certificate: Awaited<ReturnType<typeof readCertificate>>) {
    this.paths = paths
    this.server = makeServer(certificate, CALLER_TIMEOUTS)
    this.watch = this.another(certificate)
  }

  static async open(pair: Pair, ca: string | null = null): Promise<Stage> {
    const own = mkdtempSync(join(folder, 'stage-'))
    const paths = {
      cert: join(own, 'bridge.crt'),
      key: join(own, 'bridge.key'),
      ca: ca === null ? null : join(own, 'ca.crt'),
    }
    if (paths.ca !== null && ca !== null) writeFileSync(paths.ca, ca)
    put(paths, pair)
    const stage = new Stage(paths, await readCertificate(paths))
    await once(stage.server.listen(0, '127.0.0.1'), 'listening')
    stage.health.enter('ready')
    return stage
  }

  /** The watch of another life. */
  another(certificate: Awaited<ReturnType<typeof readCertificate>>): CertificateWatch {
    const { health, store } = this
    const clock = { now: () => 0, sleep: () => Promise.resolve(), wall: () => this.wall }
    return new CertificateWatch(this.server, this.paths, certificate, {
      clock,
      health,
      store,
      log: recordingLog(),
    })
  }

  get troubles(): Readonly<Record<string, string>> {
    return this.health.report().troubles
  }

  /** `cause` of each that is open, `-cause` of each that is closed. */
  async incidents(): Promise<string[]> {
    const all = await this.store.incidents({ open: false })
    return all
      .toSorted((one, other) => one.id - other.id)
      .map(({ cause, closedAt }) => (closedAt === null ? '' : '-') + cause.replace('certificate:', ''))
  }

  /** The certificate that a caller is shown. */
  async shown(): Promise<string> {
    const { port } = this.server.address() as { port: number }
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { raw } = socket.getPeerCertificate()
    socket.destroy()
    return raw.toString('base64')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close()
    this.server.closeAllConnections()
    await this.store[Symbol.asyncDispose]()
  }
}

function put(paths: { readonly cert: string; readonly key: string }, { cert, key }: Pair): void {
  writeFileSync(paths.cert, cert)
  writeFileSync(paths.key, key)
}

function makePipe(path: string): void {
  rmSync(path)
  execFileSync('mkfifo', [path])
}

test('a renewed certificate is taken over while it runs', async () => {
  await using stage = await Stage.open(lasting(100))
  await stage.watch.look()
  const first = await stage.shown()
  put(stage.paths, lasting(200))
  assert.equal(await stage.shown(), first)
  assert.equal(await stage.watch.look(), 10_000)
  assert.notEqual(await stage.shown(), first)
  assert.deepEqual(await stage.incidents(), [])
})

test('files that cannot be used change nothing; they are trouble once they stay so', async () => {
  await using stage = await Stage.open(lasting(100))
  await stage.watch.look()
  const before = lasting(100)
  put(stage.paths, before)
  await stage.watch.look()
  const second = await stage.shown()
  const other = lasting(100)
  const cases: [() => void, RegExp][] = [
    [() => writeFileSync(stage.paths.cert, other.cert), /cannot be used together/],
    [() => writeFileSync(stage.paths.cert, ''), /is not a PEM file/],
    [() => rmSync(stage.paths.key), /S2_TLS_KEY=\S+ cannot be read \(ENOENT\)/],
    [() => makePipe(stage.paths.cert), /S2_TLS_CERT=\S+ cannot be read \(NOT_A_FILE\)/],
  ]
  for (const [make, why] of cases) {
    make()
    assert.equal(await stage.watch.look(), 5_000, 'the other file may be on its way')
    assert.ok(stage.health.ready)
    assert.equal(await stage.watch.look(), 10_000)
    assert.match(stage.troubles.certificate ?? '', why)
    assert.match(stage.troubles.certificate ?? '', /the earlier one stays in force/)
    assert.equal(await stage.shown(), second)
    rmSync(stage.paths.cert, { force: true })
    put(stage.paths, before)
    await stage.watch.look()
    assert.deepEqual(stage.troubles, {})
  }
  assert.deepEqual(
    await stage.incidents(),
    cases.map(() => '-unusable'),
  )
})

test('one that ends soon is an incident and works on; one that has ended is trouble; renewed, all is closed', async () => {
  await using stage = await Stage.open(lasting(30))
  await stage.watch.look()
  assert.deepEqual([await stage.incidents(), stage.watch.warning], [[], null])
  stage.wall = NOW + 17 * DAY_MS
  await stage.watch.look()
  await stage.watch.look()
  assert.deepEqual(await stage.incidents(), ['expires_soon'])
  assert.match(stage.watch.warning ?? '', /expires on 2026-01-31, in 13 days; renew it by s2 keys tls/)
  assert.ok(stage.health.ready, 'all works still')
  stage.wall = NOW + 31 * DAY_MS
  await stage.watch.look()
  assert.deepEqual(await stage.incidents(), ['-expires_soon', 'expired'])
  assert.match(stage.troubles.certificate ?? '', /has expired on 2026-01-31: no worker gets through; renew it/)
  assert.equal(stage.health.ready, false)
  // Another life finds the incident open, and does not open it again.
  const next = stage.another(await readCertificate(stage.paths))
  await next.look()
  assert.deepEqual(await stage.incidents(), ['-expires_soon', 'expired'])
  put(stage.paths, lasting(800))
  await next.look()
  assert.deepEqual(await stage.incidents(), ['-expires_soon', '-expired'])
  assert.deepEqual([stage.health.ready, next.warning], [true, null])
})

test('an incident that the store could not take is tried again', async () => {
  await using stage = await Stage.open(lasting(1))
  const { store } = stage
  let isAway = true
  const certificate = await readCertificate(stage.paths)
  const watch = new CertificateWatch(stage.server, stage.paths, certificate, {
    clock: { now: () => 0, sleep: () => Promise.resolve(), wall: () => NOW },
    health: stage.health,
    log: recordingLog(),
    store: {
      openIncident: async (incident, channels) => {
        if (isAway) throw new Error('the store is away')
        return await store.openIncident(incident, channels)
      },
      closeIncident: (cause, channels) => store.closeIncident(cause, channels),
    },
  })
  await assert.rejects(watch.look())
  isAway = false
  await watch.look()
  assert.deepEqual(await stage.incidents(), ['expires_soon'])
})

test('one that workers will refuse, as S2_TLS_CA says another authority, is told', async () => {
  const ca = makeCertificate(new Date(NOW), '127.0.0.1', { subject: 'us', validMs: [-DAY_MS, 900 * DAY_MS] })
  const signed = makeCertificate(new Date(NOW), '127.0.0.1', {
    by: { subject: 'us', key: ca.key },
    validMs: [-DAY_MS, 100 * DAY_MS],
  })
  await using stage = await Stage.open(signed, ca.cert)
  await stage.watch.look()
  assert.deepEqual([await stage.incidents(), stage.watch.warning], [[], null])
  put(stage.paths, lasting(100))
  await stage.watch.look()
  assert.deepEqual(await stage.incidents(), ['foreign'])
  assert.match(
    stage.watch.warning ?? '',
    /was not signed by the authority in S2_TLS_CA=\S+: workers with newer credentials refuse it/,
  )
  assert.ok(stage.health.ready)
  put(stage.paths, { cert: signed.cert + ca.cert, key: signed.key })
  await stage.watch.look()
  assert.deepEqual(await stage.incidents(), ['-foreign'])
  rmSync(stage.paths.ca ?? '')
  await stage.watch.look()
  assert.match(stage.watch.warning ?? '', /S2_TLS_CA=\S+ cannot be read \(ENOENT\)/)
})

test('a bridge tells it by its health and its store, and forgets it once it has no certificate any more', async () => {
  const paths = { cert: join(folder, 'old.crt'), key: join(folder, 'old.key') }
  put(paths, makeCertificate(new Date(), '127.0.0.1', { validMs: [-2 * DAY_MS, -DAY_MS] }))
  chmodSync(paths.key, 0o600)
  await using ground = await Ground.open({ S2_TLS_CERT: paths.cert, S2_TLS_KEY: paths.key })
  const open = async (): Promise<string[]> => (await ground.store.incidents({ open: true })).map(({ cause }) => cause)
  await until('the incident is there', async () => (await open()).includes('certificate:expired'))
  assert.match(ground.health.report().troubles.certificate ?? '', /has expired on/)
  Object.assign(ground, { config: Object.freeze({ ...ground.config, tls: null }) })
  await ground.stop()
  await ground.start()
  await until('the incident is closed', async () => (await open()).length === 0)
})
