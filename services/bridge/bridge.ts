import { randomBytes } from 'node:crypto'
import { createServer, type Server, type ServerOptions } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { CronJob } from 'cron'
import { isPassing } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import type { SessionId } from '#fleet/session.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { type Health, listen } from '#runtime/health.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { Life, Program } from '#runtime/run.ts'
import { openStore } from '#store/open.ts'
import type { Store } from '#store/store.ts'
import { Allowance } from './allowance.ts'
import { BeatQueue } from './beats.ts'
import { Bodies } from './body.ts'
import { type Config, readConfig } from './config.ts'
import { Door } from './door.ts'
import { Guard } from './guard.ts'
import { Hosts } from './hosts.ts'
import { Members } from './member.ts'
import { Nonces } from './nonces.ts'
import { Refusals } from './refusals.ts'
import { Renewals } from './renewals.ts'
import { Sockets } from './sockets.ts'
import { type Certificate, readCertificate } from './tls.ts'
import { Tokens } from './tokens.ts'

/** The door to the fleet's store: for hosts over signed HTTP and one WebSocket each, for this host over a unix socket. */
export const program: Program<Config> = { name: 'bridge', redact, readConfig, start }

/** Beats over plain HTTP that a session may make in a minute: apart from its requests, and not without end. */
const BEATS_PER_MINUTE = 1_500
const SERVER: ServerOptions = {
  maxHeaderSize: 8_192,
  headersTimeout: 10_000,
  requestTimeout: 20_000,
  // Longer than any client of ours keeps an idle connection, so that none sends into one that is being closed.
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 2_000,
}
const CONNECTIONS_MAX = 20_000
/** How long a response may wait to be taken. */
const STUCK_MS = 120_000

const INSPECT_MS = 5_000
const RECHECK_MS = 15_000
const CERTIFICATE_MS = 60_000
const RETRY = { firstMs: 200, mostMs: 5_000 }
/** How long tending may fail before the program gives up on its store and is started anew. */
const TENDING_FAILS_MS = 60_000

async function start(config: Config, life: Life): Promise<void> {
  const { clock, chance, log, draining, stack, fail } = life
  const store = stack.use(await openStore(config.store, { clock, chance, log, onBroken: fail }))
  const bridge = stack.use(await openBridge(config, store, life))
  const loops = [...bridge.upkeep(), tending(store, life)]
  stack.defer(async () => void (await Promise.all(loops.map(({ done }) => done))))
  const housekeeping = CronJob.from({
    cronTime: config.housekeeping,
    waitForCompletion: true,
    unrefTimeout: true,
    onTick: async () => log.info('housekeeping', { forgotten: await store.prune(config.keepMs) }),
    errorHandler: (error) => log.error('housekeeping failed; it is tried again when it is due', { error }),
  })
  housekeeping.start()
  stack.defer(async () => void (await housekeeping.stop()))
  draining.addEventListener('abort', () => void housekeeping.stop(), { once: true })
  log.info('listening', { at: bridge.url, admin: config.admin })
}

/** Repeats what the store needs; a store that cannot be tended for long ends the program. */
function tending(store: Store, { clock, chance, log, health, draining, round, fail }: Life): Loop {
  let failures = 0
  let lastGood = clock.now()
  const failing = health.metrics.counter(
    's2_bridge_tending_failures_total',
    'Rounds of upkeep of the store that failed.',
  )
  return new Loop({
    clock,
    signal: draining,
    step: async () => {
      const waitMs = await store.tend()
      failures = 0
      lastGood = clock.now()
      health.trouble('store', null)
      round()
      return waitMs
    },
    onError: (error) => {
      failing.add()
      failures += 1
      log.warn('the store cannot be tended', { error, failures })
      health.trouble('store', (error as Error).message)
      if (!isPassing(error) || clock.now() - lastGood > TENDING_FAILS_MS) fail(error as Error)
      return backoff(failures, RETRY, chance)
    },
  })
}

export interface BridgeParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  readonly health: Health
  readonly draining: AbortSignal
}

export interface Bridge extends AsyncDisposable {
  /** Where signed requests are answered, e.g. `http://127.0.0.1:7433`. */
  readonly url: string
  /** Starts what must be done now and then, until `draining` aborts. */
  upkeep(): Loop[]
}

/** Opens both doors of a store. Disposing stops: nothing new is taken, what is under way is finished, sockets are closed. */
export async function openBridge(config: Config, store: Store, parts: BridgeParts): Promise<Bridge> {
  const { clock, chance, log, health, draining } = parts
  const { metrics } = health
  const tokens = new Tokens(store, clock)
  const nonces = new Nonces(clock.wall(), log)
  const guard = new Guard(tokens, nonces, clock)
  const members = new Members(store, clock)
  const renewals = new Renewals(config.lifetimeMs, { store, clock, log })
  const refusals = new Refusals(metrics, { log, clock }, randomBytes(4).toString('hex'))
  const requests = new Allowance(config.requestsPerMinute, clock)
  const beats = new Allowance(BEATS_PER_MINUTE, clock)
  const hosts = new Hosts(config.allowedHosts, config.allowedOrigins)
  const answered = metrics.counter('s2_bridge_answers_total', 'Requests that were answered well.')
  const beatCount = metrics.counter('s2_bridge_beats_total', 'Beats that came in.')
  const mailCount = metrics.counter('s2_bridge_mail_total', 'Messages pushed to hosts.')
  const onBeat = (session: SessionId): void => {
    beatCount.add()
    renewals.heard(session)
  }
  const sockets = new Sockets({
    store,
    clock,
    chance,
    guard,
    refusals,
    hosts,
    draining,
    beats: new BeatQueue(store),
    frameMax: config.bodyMax,
    onBeat,
    onMail: () => mailCount.add(),
  })
  const door = new Door({
    store,
    clock,
    guard,
    members,
    hosts,
    bodies: new Bodies(config.bodyMax),
    requests,
    beats,
    refusals,
    draining,
    onBeat,
    onAnswer: () => answered.add(),
    onChange: () => {
      tokens.forget()
      members.forget()
      void sockets.recheck()
    },
  })
  metrics.gauge('s2_bridge_hosts', 'Hosts that hold a WebSocket.', () => sockets.hosts)
  metrics.gauge('s2_bridge_sessions', 'Sessions that have joined.', () => sockets.sessions)
  metrics.gauge('s2_bridge_writing', 'Writes under way.', () => door.writing)
  metrics.gauge('s2_bridge_nonces', 'Nonces remembered.', () => nonces.size)

  await using opening = new AsyncDisposableStack()
  const certificate = config.tls === null ? null : await readCertificate(config.tls)
  const server = certificate === null ? createServer(SERVER) : createTlsServer(tlsOptions(certificate))
  server.maxConnections = CONNECTIONS_MAX
  server.timeout = STUCK_MS
  server.on('request', door.onSigned).on('checkContinue', door.onSigned).on('upgrade', sockets.onUpgrade)
  await listen(server, config.listen)
  opening.defer(() => closeServer(server))
  opening.defer(() => sockets.close())
  const admin = createServer({ ...SERVER, requestTimeout: 60_000 })
  admin.on('request', door.onAdmin)
  await listen(admin, { path: config.admin })
  opening.defer(() => closeServer(admin))
  const acquired = opening.move()

  const loop = (what: string, step: () => Promise<number>): Loop =>
    new Loop({
      clock,
      signal: draining,
      step,
      onError: (error) => {
        log.warn(`${what} failed; it is tried again`, { error })
        return RETRY.mostMs
      },
    })
  const loops = (): Loop[] => [
    loop('inspecting sockets', async () => {
      sockets.inspect()
      requests.forgetIdle()
      beats.forgetIdle()
      return INSPECT_MS
    }),
    loop('checking tokens', async () => {
      await sockets.recheck()
      return RECHECK_MS
    }),
    loop('renewing conversations', () => renewals.round()),
    ...(config.tls === null || certificate === null
      ? []
      : [loop('reading the certificate', renewCertificate(server, config.tls, certificate, log))]),
  ]
  return {
    url: urlOf(server, config),
    upkeep: loops,
    [Symbol.asyncDispose]: () => acquired.disposeAsync(),
  }
}

function tlsOptions({ cert, key }: Certificate) {
  return { ...SERVER, cert, key, minVersion: 'TLSv1.2' as const, handshakeTimeout: 10_000 }
}

/** Takes over a certificate that was renewed on disk; a bad one changes nothing. */
function renewCertificate(server: Server, paths: { cert: string; key: string }, first: Certificate, log: Log) {
  let current = first
  return async (): Promise<number> => {
    const fresh = await readCertificate(paths)
    if (!fresh.cert.equals(current.cert) || !fresh.key.equals(current.key)) {
      ;(server as unknown as { setSecureContext(options: Certificate): void }).setSecureContext(fresh)
      current = fresh
      log.info('certificate taken over')
    }
    return CERTIFICATE_MS
  }
}

/** Stops listening, lets requests under way end, and drops connections that only wait. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeIdleConnections()
  })
}

function urlOf(server: Server, { listen: address, tls }: Config): string {
  if ('path' in address) return `unix:${address.path}`
  const { port, family, address: host } = server.address() as AddressInfo
  return `${tls === null ? 'http' : 'https'}://${family === 'IPv6' ? `[${host}]` : host}:${port}`
}
