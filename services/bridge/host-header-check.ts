import type { IncomingMessage } from 'node:http'
import { S2Error } from '#fleet/errors.ts'
import { isLoopback } from './config.ts'

/** Which names a caller may use for the bridge, and which web pages may call it: this stops DNS rebinding. */
export class HostHeaderCheck {
  readonly #hosts: ReadonlySet<string>
  readonly #origins: ReadonlySet<string>

  constructor(hosts: readonly string[], origins: readonly string[]) {
    this.#hosts = new Set(hosts)
    this.#origins = new Set(origins)
  }

  /** Answers the name that the caller used, in small letters. Throws `invalid` for two names, `forbidden` for a foreign one. */
  check({ headers, rawHeaders, socket }: IncomingMessage): string {
    demandSingle(rawHeaders)
    const host = headers.host?.toLowerCase() ?? ''
    if (!this.#allows(host, socket.localAddress)) {
      throw new S2Error('forbidden', `this bridge is not called ${JSON.stringify(host.slice(0, 100))}`, {
        next: 'add that name to S2_ALLOWED_HOSTS of the bridge, if it is one of its names',
      })
    }
    const origin = headers.origin
    if (origin !== undefined && !this.#origins.has(origin.toLowerCase())) {
      throw new S2Error('forbidden', `web pages of ${JSON.stringify(origin.slice(0, 100))} may not call`, {
        next: 'add that origin to S2_ALLOWED_ORIGINS of the bridge, if its pages may',
      })
    }
    return host
  }

  #allows(host: string, localAddress: string | undefined): boolean {
    if (this.#hosts.has(host)) return true
    const name = host.replace(/:\d{1,5}$/, '')
    const bare = name.replace(/^\[(.*)\]$/, '$1')
    return this.#hosts.has(name) || isLoopback(bare) || bare === localAddress?.replace(/^::ffff:/, '')
  }
}

/** Node takes the first of several; what stands in front of the bridge may take the last. */
const SINGLE = ['host', 'origin', 'content-type', 'content-length', 'transfer-encoding', 'expect', 'x-request-id']

function demandSingle(rawHeaders: readonly string[]): void {
  const seen = new Set<string>()
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]?.toLowerCase() ?? ''
    if (!SINGLE.includes(name)) continue
    if (seen.has(name)) {
      throw new S2Error('invalid', `the request has two headers ${name}`, { next: 'send it once' })
    }
    seen.add(name)
  }
}
