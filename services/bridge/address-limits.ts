import { isIPv6 } from 'node:net'
import type { Clock } from '#runtime/clock.ts'
import { isLoopback } from './config.ts'
import { RateLimit } from './rate-limit.ts'

/** What one address may have before it proves a session, and how many connections it may hold at all. */
interface Share {
  readonly connections: number
  /** WebSockets that have not joined; beyond it the oldest of them ends. */
  readonly unjoined: number
  /** Requests of nobody known in a minute. */
  readonly unknownPerMinute: number
}

/** Many hosts may share an address behind a network's gateway. */
const AFAR: Share = { connections: 2_000, unjoined: 256, unknownPerMinute: 1_200 }
/** A proxy on this host brings the whole fleet by one address. */
const HERE: Share = { connections: 16_000, unjoined: 8_192, unknownPerMinute: 120_000 }

/** Counts what each address takes, so that nobody takes the place of all others. IPv6 counts by its network of 64 bits. */
export class AddressLimits {
  readonly #unknownAfar: RateLimit
  readonly #unknownHere: RateLimit
  readonly #connections = new Map<string, number>()

  constructor(clock: Clock) {
    this.#unknownAfar = new RateLimit(AFAR.unknownPerMinute, clock)
    this.#unknownHere = new RateLimit(HERE.unknownPerMinute, clock)
  }

  /** Whether an address may open one more connection; `leave` gives it back. */
  enter(address: string): boolean {
    const open = this.#connections.get(address) ?? 0
    if (open >= shareOf(address).connections) return false
    this.#connections.set(address, open + 1)
    return true
  }

  leave(address: string): void {
    const open = this.#connections.get(address) ?? 0
    if (open <= 1) this.#connections.delete(address)
    else this.#connections.set(address, open - 1)
  }

  /** Whether an address may still ask in the name of nobody known. */
  mayBeUnknown(address: string): boolean {
    return this.#unknown(address).has(address)
  }

  /** Counts a request of nobody known; answers whether the address has made few enough. */
  spendUnknown(address: string): boolean {
    return this.#unknown(address).spend(address) === 0
  }

  /** How many WebSockets of an address may be open without having joined. */
  unjoinedMax(address: string): number {
    return shareOf(address).unjoined
  }

  forgetIdle(): void {
    this.#unknownAfar.forgetIdle()
    this.#unknownHere.forgetIdle()
  }

  #unknown(address: string): RateLimit {
    return address === LOOPBACK ? this.#unknownHere : this.#unknownAfar
  }
}

const LOOPBACK = 'loopback'

function shareOf(address: string): Share {
  return address === LOOPBACK ? HERE : AFAR
}

/** What an address counts as: itself, its network of 64 bits (IPv6), or `loopback`. */
export function countedAddress(remote: string | undefined): string {
  const address = remote?.replace(/^::ffff:(?=\d+\.)/i, '') ?? ''
  if (address === '' || isLoopback(address)) return LOOPBACK
  return isIPv6(address) ? `${networkOf(address)}::/64` : address
}

function networkOf(address: string): string {
  const [left = '', right] = address.replace(/%.*$/, '').split('::')
  const head = left === '' ? [] : left.split(':')
  const tail = right === undefined || right === '' ? [] : right.split(':')
  const zeros = Array.from({ length: Math.max(0, 8 - head.length - tail.length) }, () => '0')
  const groups = right === undefined ? head : [...head, ...zeros, ...tail]
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}
