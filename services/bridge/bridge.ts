import { randomBytes } from 'node:crypto'
import { isPassing } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import type { SessionId } from '#fleet/session.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Health } from '#runtime/health.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { forgetStart } from '#runtime/memory-tuning.ts'
import type { Life, Program } from '#runtime/run.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { Authentication } from './authentication.ts'
import { BeatBatcher } from './beat-batcher.ts'
import { type Config, readConfig } from './config.ts'
import { ErrorReporter } from './error-reporter.ts'
import { HostHeaderCheck } from './host-header-check.ts'
import { HttpHandler } from './http-handler.ts'
import { CALLER_TIMEOUTS, type CallerTimeouts, makeAdminServer, makeServer, openServer, urlOf } from './http-servers.ts'
import { NonceCache } from './nonce-cache.ts'
import { Permissions } from './permissions.ts'
import { RateLimit } from './rate-limit.ts'
import { RenewOnBeat } from './renew-on-beat.ts'
import { BodyReader } from './request-body.ts'
import { CertificateWatch, closeCertificateIncidents, readCertificate } from './tls-certificate.ts'
import { TokenCache } from './token-cache.ts'
import { WebSocketConnections } from './websocket-connections.ts'

/** The door to the fleet's store: for hosts over signed HTTP and one WebSocket each, for this host over a unix socket. */
export const program: Program<Config> = {
  name: 'bridge',
  about:
    "Keeps the fleet's messages, tasks and beats in one database, and serves them to hosts over HTTP and WebSocket.",
  redact,
  readConfig,
  start,
}

/** Beats over plain HTTP that a session may make in a minute: apart from its requests, and not without end. */
const BEATS_PER_MINUTE = 1_500
const RECHECK_MS = 15_000
const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
/** Hints that come within so long of one another are passed on as one. */
const HINTS_EVERY_MS = 250
const RETRY = { firstMs: 200, mostMs: 5_000 }
/** By then everything that a start brings has been done. */
const SETTLED_MS = 3_000

async function start(config: Config, life: Life): Promise<void> {
  const { clock, chance, log, draining, stack, fail, takesLong } = life
  const store = stack.use(await openStore(config.store, { clock, chance, log, onBroken: fail, onLong: takesLong }))
  const house = keepHouse(config, store, life)
  stack.defer(() => house.done)
  const bridge = stack.use(await openBridge(config, store, life))
  const loop = tending(store, bridge, life)
  stack.defer(() => loop.done)
  log.info('listening', { url: bridge.url, admin: config.admin })
  clock.sleep(SETTLED_MS, draining).then(forgetStart, () => undefined)
}

/** Repeats what the store needs. What passes by itself is waited for: the doors stay open, and beats go on. */
function tending(store: Store, bridge: Bridge, { clock, chance, log, health, draining, round, fail }: Life): Loop {
  const failing = health.metrics.counter(
    's2_bridge_tending_failures_total',
    'Rounds of upkeep of the store that failed.',
  )
  let failures = 0
  return new Loop({
    clock,
    signal: draining,
    step: async () => {
      const waitMs = await store.tend()
      failures = 0
      health.trouble('store', null)
      round(bridge.status())
      return waitMs
    },
    onError: (error) => {
      failing.add()
      failures += 1
      log.warn('the store cannot be tended', { error, failures })
      health.trouble('store', (error as Error).message)
      if (!isPassing(error)) fail(error as Error)
      return backoff(failures, RETRY, chance)
    },
  })
}

/** Forgets what is old, when the calendar says so. The clock may be set meanwhile, so it is looked at every minute. */
function keepHouse({ housekeeping, keepMs }: Config, store: Store, { clock, log, draining }: Life): Loop {
  let lookedAt = clock.wall()
  return new Loop({
    clock,
    signal: draining,
    step: async () => {
      const now = clock.wall()
      const isDue = housekeeping.next(lookedAt) <= now
      lookedAt = now
      if (isDue) log.info('housekeeping', { forgotten: await store.prune(keepMs) })
      return Math.max(0, Math.min(MINUTE_MS, housekeeping.next(now) - clock.wall()))
    },
    onError: (error) => {
      log.error('housekeeping failed; it is tried again when it is due', { error })
      return MINUTE_MS
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
  /** One line on what it does just now. */
  status(): string
}

/**
 * Opens both doors of a store. Once `draining` aborts, disposing stops it: nothing new is taken, what is under way is
 * finished, sockets are told and closed. Throws `ConfigError` when it cannot listen.
 */
export async function openBridge(
  config: Config,
  store: Store,
  parts: BridgeParts,
  patience: CallerTimeouts = CALLER_TIMEOUTS,
): Promise<Bridge> {
  const { httpHandler, connections, chores } = furnish(config, store, parts, patience)
  const opens = { clock: parts.clock, draining: parts.draining, graceMs: config.drainMs / 2 }
  await using opening = new AsyncDisposableStack()
  const certificate = config.tls === null ? null : await readCertificate(config.tls)
  const server = makeServer(certificate, patience)
  server
    .on('request', httpHandler.onSigned)
    .on('checkContinue', httpHandler.onSigned)
    .on('upgrade', connections.onUpgrade)
  const admin = makeAdminServer(patience)
  admin.on('request', httpHandler.onAdmin)
  opening.use(await openServer(server, config.listen, opens))
  opening.defer(() => connections.close())
  opening.use(await openServer(admin, { path: config.admin }, opens))
  const { tls, channels } = config
  const watch =
    tls === null || certificate === null
      ? null
      : new CertificateWatch(server, tls, certificate, { ...parts, store, channels })
  const look = async (): Promise<number> => {
    if (watch !== null) return await watch.look()
    await closeCertificateIncidents({ store, channels, log: parts.log }) // of a certificate that it had before
    return DAY_MS
  }
  chores.push({ what: 'looking after the certificate', step: look })
  const loops = chores.map((chore) => repeat(chore, parts))
  opening.defer(async () => void (await Promise.all(loops.map(({ done }) => done))))
  const open = opening.move()
  return {
    url: urlOf(server, config.listen, config.tls !== null),
    status: () => {
      const doing = `${connections.hosts} hosts, ${connections.sessions} sessions, ${httpHandler.writing} writes under way`
      return watch?.warning == null ? doing : `${watch.warning}; ${doing}`
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
}

interface Chore {
  readonly what: string
  /** Answers milliseconds until it is wanted again. */
  step(): Promise<number>
}

/** All that stands behind the doors. */
function furnish(config: Config, store: Store, parts: BridgeParts, { inspectMs }: CallerTimeouts) {
  const { clock, log, draining } = parts
  const { metrics } = parts.health
  const tokens = new TokenCache(store, clock)
  const nonces = new NonceCache(clock.wall(), log)
  const authentication = new Authentication(tokens, nonces, clock)
  const permissions = new Permissions(store, clock)
  const renewals = new RenewOnBeat(config.lifetimeMs, { store, clock, log })
  const errors = new ErrorReporter(metrics, { log, clock }, randomBytes(4).toString('hex'))
  const requests = new RateLimit(config.requestsPerMinute, clock)
  const beats = new RateLimit(BEATS_PER_MINUTE, clock)
  const answered = metrics.counter('s2_bridge_answers_total', 'Requests that were answered well.')
  const beaten = metrics.counter('s2_bridge_beats_total', 'Beats that came in.')
  const pushed = metrics.counter('s2_bridge_mail_total', 'Messages pushed to hosts.')
  const shared = {
    ...parts,
    store,
    authentication,
    errors,
    hostHeader: new HostHeaderCheck(config.allowedHosts, config.allowedOrigins),
    onBeat: (session: SessionId) => {
      beaten.add()
      renewals.heard(session)
    },
  }
  const connections = new WebSocketConnections({
    ...shared,
    beats: new BeatBatcher(store),
    frameMax: config.bodyMax,
    onMail: () => pushed.add(),
  })
  const onChange = (conversation: string): void => {
    tokens.forget(conversation)
    permissions.forget()
    void connections.recheck(conversation)
  }
  const bodies = new BodyReader(config.bodyMax)
  const httpHandler = new HttpHandler({
    ...shared,
    permissions,
    bodies,
    requests,
    beats,
    draining,
    onAnswer: () => answered.add(),
    onChange,
  })
  metrics.gauge('s2_bridge_hosts', 'Hosts that hold a WebSocket.', () => connections.hosts)
  metrics.gauge('s2_bridge_sessions', 'Sessions that have joined.', () => connections.sessions)
  metrics.gauge('s2_bridge_writing', 'Writes under way.', () => httpHandler.writing)
  metrics.gauge('s2_bridge_nonces', 'Nonces remembered.', () => nonces.size)
  const inspect = async (): Promise<number> => {
    connections.inspect()
    requests.forgetIdle()
    beats.forgetIdle()
    return inspectMs
  }
  const recheck = async (): Promise<number> => {
    await connections.recheck()
    return RECHECK_MS
  }
  const hint = async (): Promise<number> => {
    for await (const conversations of store.credentialHints(draining)) {
      connections.hintCredentials(conversations)
      await clock.sleep(HINTS_EVERY_MS, draining).catch(() => undefined)
    }
    return RETRY.mostMs
  }
  const chores: Chore[] = [
    { what: 'inspecting sockets', step: inspect },
    { what: 'checking tokens again', step: recheck },
    { what: 'renewing conversations', step: () => renewals.round() },
    { what: 'passing on hints of credentials', step: hint },
  ]
  return { httpHandler, connections, chores }
}

function repeat({ what, step }: Chore, { clock, log, draining: signal }: BridgeParts): Loop {
  return new Loop({
    clock,
    signal,
    step,
    onError: (error) => {
      log.warn(`${what} failed; it is tried again`, { error })
      return RETRY.mostMs
    },
  })
}
