import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import type { SessionId } from '#fleet/session-id.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Health } from '#runtime/health.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { Store } from '#store/store.ts'
import { AddressLimits, countedAddress } from './address-limits.ts'
import { Authentication } from './authentication.ts'
import { BeatBatcher } from './beat-batcher.ts'
import type { Config } from './config.ts'
import { ConversationRenewal } from './conversation-renewal.ts'
import { HeldCopies } from './held-copies.ts'
import { HostHeaderCheck } from './host-header-check.ts'
import { HttpHandler } from './http-handler.ts'
import { CALLER_TIMEOUTS, type CallerTimeouts, makeAdminServer, makeServer, openServer, urlOf } from './http-servers.ts'
import { LeaderMailNotice } from './leader-mail-notice.ts'
import { NonceCache } from './nonce-cache.ts'
import { Permissions } from './permissions.ts'
import { RateLimit } from './rate-limit.ts'
import { RefusedCalls } from './refused-calls.ts'
import { BodyReader } from './request-body.ts'
import { RequestErrorLog } from './request-error-log.ts'
import { SessionSeats } from './session-seats.ts'
import { SignatureTime } from './signature-time.ts'
import { CertificateWatch, closeCertificateIncidents, readCertificate } from './tls-certificate.ts'
import { TokenCache } from './token-cache.ts'
import { WebSocketConnections } from './websocket-connections.ts'

/** Beats over plain HTTP that a session may make in a minute: limited apart from its requests. */
const BEATS_PER_MINUTE = 1_500
const RECHECK_MS = 15_000
const DAY_MS = 86_400_000
/** Hints that come within so long of one another are passed on as one. */
const HINTS_EVERY_MS = 250
const RETRY_MS = 5_000

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
  /** One line on what it does now. */
  status(): string
}

/**
 * Serves a store: signed requests and WebSockets at one address, administration at a unix socket. Once `draining` aborts,
 * disposing stops it: nothing new is taken, what is under way is finished, hosts are told and their sockets closed. Throws
 * `ConfigError` when it cannot listen.
 */
export async function openBridge(
  config: Config,
  store: Store,
  parts: BridgeParts,
  timeouts: CallerTimeouts = CALLER_TIMEOUTS,
): Promise<Bridge> {
  const { httpHandler, connections, addresses, refusedCalls, jobs } = makeHandlers(config, store, parts, timeouts)
  const opens = { clock: parts.clock, draining: parts.draining, graceMs: config.drainMs / 2 }
  await using opening = new AsyncDisposableStack()
  opening.defer(() => refusedCalls.flush().catch((error) => parts.log.warn('refused calls not audited', { error })))
  const certificate = config.tls === null ? null : await readCertificate(config.tls)
  const server = makeServer(certificate, timeouts)
  server
    .on('connection', (socket) => limitConnections(socket, addresses))
    .on('request', httpHandler.onSigned)
    .on('checkContinue', httpHandler.onSigned)
    .on('upgrade', connections.onUpgrade)
  const admin = makeAdminServer(timeouts)
  admin.on('request', httpHandler.onAdmin)
  opening.use(await openServer(server, config.listen, opens))
  opening.defer(() => connections.close())
  opening.use(await openServer(admin, { path: config.admin }, opens))
  const { tls } = config
  const certificateWatch =
    tls === null || certificate === null ? null : new CertificateWatch(server, tls, certificate, { ...parts, store })
  const look = async (): Promise<number> => {
    if (certificateWatch !== null) return await certificateWatch.look()
    const outcome = 'the bridge has no certificate of its own any more'
    await closeCertificateIncidents({ store, log: parts.log }, outcome)
    return DAY_MS
  }
  jobs.push({ what: 'certificate check', step: look })
  const loops = jobs.map((job) => repeat(job, parts))
  opening.defer(async () => void (await Promise.all(loops.map(({ done }) => done))))
  const open = opening.move()
  return {
    url: urlOf(server, config.listen, config.tls !== null),
    status: () => {
      const doing = `${connections.hosts} hosts, ${connections.sessions} sessions, ${httpHandler.writing} writes under way`
      return certificateWatch?.warning == null ? doing : `${certificateWatch.warning}; ${doing}`
    },
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  }
}

/** Something that the bridge repeats. */
interface Job {
  readonly what: string
  /** Answers milliseconds until it is wanted again. */
  step(): Promise<number>
}

/** What answers callers and what is repeated beside it, made from one set of parts. */
function makeHandlers(config: Config, store: Store, parts: BridgeParts, { inspectMs }: CallerTimeouts) {
  const { clock, log } = parts
  const { metrics } = parts.health
  const checks = makeCallerChecks(config, store, parts)
  const { tokens, nonces, authentication, permissions, requests, beats, addresses } = checks
  const renewals = new ConversationRenewal(config.lifetimeMs, { store, clock, log })
  const refusedCalls = new RefusedCalls(store, clock)
  const beatsTotal = metrics.counter('s2_bridge_beats_total', 'Beats that came in.')
  const shared = {
    ...parts,
    store,
    authentication,
    addresses,
    errors: new RequestErrorLog(metrics, { log, clock, refusedCalls }, randomBytes(4).toString('hex')),
    hostHeader: new HostHeaderCheck(config.allowedHosts, config.allowedOrigins),
    onBeat: () => beatsTotal.add(),
  }
  const mailTotal = metrics.counter('s2_bridge_mail_total', 'Messages pushed to hosts.')
  const connections = new WebSocketConnections({
    ...shared,
    beats: new BeatBatcher(store),
    seats: new SessionSeats(),
    frameMax: config.bodyMax,
    onMail: () => mailTotal.add(),
  })
  const answersTotal = metrics.counter('s2_bridge_answers_total', 'Requests that were answered well.')
  const httpHandler = new HttpHandler({
    ...shared,
    permissions,
    speaksMcp: config.speaksMcp,
    bodies: new BodyReader(config.bodyMax),
    requests,
    beats,
    onAnswer: () => answersTotal.add(),
    onChange: (conversation) => {
      tokens.forget(conversation)
      permissions.forget()
      void connections.recheck(conversation)
    },
  })
  metrics.gauge('s2_bridge_hosts', 'Hosts that hold a WebSocket.', () => connections.hosts)
  metrics.gauge('s2_bridge_sessions', 'Sessions that have joined.', () => connections.sessions)
  metrics.gauge('s2_bridge_writing', 'Writes under way.', () => httpHandler.writing)
  metrics.gauge('s2_bridge_nonces', 'Nonces remembered.', () => nonces.size)
  const inspect = async (): Promise<number> => {
    connections.inspect()
    requests.forgetIdle()
    beats.forgetIdle()
    addresses.forgetIdle()
    return inspectMs
  }
  const leaderMail = new LeaderMailNotice({
    ...{ state: config.state, clock, store },
    unique: () => randomBytes(8).toString('hex'),
  })
  const heldCopies = new HeldCopies(config.store, { store, log })
  const jobs: Job[] = [
    { what: 'socket inspection', step: inspect },
    { what: 'token recheck', step: () => recheck(connections) },
    { what: 'conversation renewal', step: () => renewals.round() },
    { what: 'audit of refused calls', step: () => refusedCalls.round() },
    { what: 'look for held copies', step: () => heldCopies.look() },
    { what: 'notice of mail for the orchestrator', step: () => leaderMail.look() },
    { what: 'credential hints', step: () => passHintsOn(store, connections, parts) },
  ]
  return { httpHandler, connections, addresses, refusedCalls, jobs }
}

/** What tells who calls, what they may do and how often. */
function makeCallerChecks(config: Config, store: Store, { clock, log }: BridgeParts) {
  const tokens = new TokenCache(store, clock)
  const nonces = new NonceCache(new SignatureTime(clock, log))
  const requests = new RateLimit(config.requestsPerMinute, clock)
  // a message to a large role costs half a minute's requests at most, so that it can be sent at all
  const spend = (session: SessionId, count: number): number =>
    requests.spend(session, Math.min(count, config.requestsPerMinute / 2))
  return {
    tokens,
    nonces,
    authentication: new Authentication(tokens, nonces),
    permissions: new Permissions({ store, clock, peers: config.peers, spend }),
    requests,
    beats: new RateLimit(BEATS_PER_MINUTE, clock),
    addresses: new AddressLimits(clock),
  }
}

function limitConnections(socket: Socket, addresses: AddressLimits): void {
  const address = countedAddress(socket.remoteAddress)
  if (!addresses.enter(address)) return void socket.destroy()
  socket.once('close', () => addresses.leave(address))
}

async function recheck(connections: WebSocketConnections): Promise<number> {
  await connections.recheck()
  return RECHECK_MS
}

async function passHintsOn(
  store: Store,
  connections: WebSocketConnections,
  { clock, draining }: BridgeParts,
): Promise<number> {
  for await (const conversations of store.credentialHints(draining)) {
    await connections.hintCredentials(conversations, draining)
    await clock.sleep(HINTS_EVERY_MS, draining).catch(() => undefined)
  }
  return RETRY_MS
}

function repeat({ what, step }: Job, { clock, log, draining: signal }: BridgeParts): Loop {
  return new Loop({
    clock,
    signal,
    step,
    onError: (error) => {
      log.warn(`${what} failed, retrying`, { error })
      return RETRY_MS
    },
  })
}
