import { createServer, type Server, type ServerOptions } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { waitAtMost } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import { listen } from '#runtime/health.ts'
import type { Address } from '#runtime/setting-parsers.ts'
import type { ServerCertificate } from './tls-certificate.ts'

/** How long callers may take, and how often sockets are checked. Milliseconds. */
export interface CallerTimeouts {
  /** Until all headers have come. */
  readonly headersMs: number
  /** Until the whole request has come. */
  readonly requestMs: number
  /** Between two checks for sockets that are dead, slow or idle. */
  readonly inspectMs: number
}

export const CALLER_TIMEOUTS: CallerTimeouts = { headersMs: 10_000, requestMs: 20_000, inspectMs: 5_000 }

const CONNECTIONS_MAX = 20_000
/** How long a caller may take nothing of a response. */
const STUCK_MS = 120_000
/** Longer than S2's clients keep an idle connection, so that none sends on one that is being closed. */
const KEEP_ALIVE_MS = 75_000

/** The server for signed requests: with TLS where there is a certificate. */
export function makeServer(certificate: ServerCertificate | null, timeouts: CallerTimeouts): Server {
  const options = optionsFor(timeouts)
  const server =
    certificate === null
      ? createServer(options)
      : createTlsServer({
          ...options,
          cert: certificate.cert,
          key: certificate.key,
          minVersion: 'TLSv1.2',
          handshakeTimeout: timeouts.headersMs,
        })
  server.timeout = STUCK_MS
  return server
}

/** The server for administration: its streams may be quiet for as long as nothing happens. */
export function makeAdminServer(timeouts: CallerTimeouts): Server {
  return createServer(optionsFor(timeouts))
}

export interface OpenParts {
  readonly clock: Clock
  readonly draining: AbortSignal
  /** How long requests under way may take to end once it drains, milliseconds. */
  readonly graceMs: number
}

/**
 * Listens until `draining` aborts, and takes nothing new from then on. Disposing waits for requests under way, `graceMs` at
 * most, and then closes all connections. Throws `ConfigError`.
 */
export async function openServer(server: Server, address: Address, parts: OpenParts): Promise<AsyncDisposable> {
  const { clock, draining, graceMs } = parts
  server.maxConnections = CONNECTIONS_MAX
  await listen(server, address)
  const closed = new Promise<void>((resolve) => server.once('close', () => resolve()))
  const close = (): void => void (server.listening && server.close())
  draining.addEventListener('abort', close, { once: true })
  return {
    [Symbol.asyncDispose]: async () => {
      draining.removeEventListener('abort', close)
      close()
      await waitAtMost(closed, graceMs, clock)
      server.closeAllConnections()
      await closed
    },
  }
}

export function urlOf(server: Server, address: Address, isTls: boolean): string {
  if ('path' in address) return `unix:${address.path}`
  const { port, family, address: host } = server.address() as AddressInfo
  return `${isTls ? 'https' : 'http'}://${family === 'IPv6' ? `[${host}]` : host}:${port}`
}

function optionsFor({ headersMs, requestMs }: CallerTimeouts): ServerOptions {
  return {
    maxHeaderSize: 8_192,
    headersTimeout: headersMs,
    requestTimeout: requestMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: headersMs / 5,
  }
}
