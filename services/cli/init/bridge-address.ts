import { isIP } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
import { SETTINGS } from '#runtime/settings.ts'
import type { SettingValues } from './settings-draft.ts'

/** The address at which workers reach the bridge. */
export interface BridgeAddress {
  readonly url: string
  readonly host: string
  readonly port: number
  /** Whether only this machine can reach it. */
  readonly isLocal: boolean
}

const PORT = 7433

/** Reads a name or an address, with a port or without, or a whole URL. Throws an Error with the reason. */
export function parseBridge(text: string): BridgeAddress {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return ofUrl(SETTINGS.S2_BRIDGE_URL.parse(text))
  const bare = isIP(text) === 6 ? `[${text}]` : text
  const match = /^(\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::(\d{1,5}))?$/i.exec(bare)
  const port = Number(match?.[2] ?? PORT)
  if (match === null || port < 1 || port > 65_535)
    throw new Error('must be a name or an address, with :port or without')
  const host = match[1] ?? ''
  const address = ofUrl(`https://${host}:${port}`)
  return address.isLocal ? ofUrl(`http://${host}:${port}`) : address
}

function ofUrl(text: string): BridgeAddress {
  const url = new URL(text)
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  const isLocal = host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
  // The default port of a scheme is shown too: people look for it in settings and firewalls.
  const shown = text.includes(`:${port}`) && url.port === '' ? `${url.protocol}//${url.hostname}:${port}` : url.origin
  return { url: shown, host, port, isLocal }
}

/** How workers recognise the bridge: by a certificate made here, by files, or by a proxy's certificate. */
export type Trust = 'own' | 'files' | 'proxy'

/** The settings with which the bridge is reached at an address: where it listens, and which host name it accepts. */
export function bridgeSettings({ url, host, port, isLocal }: BridgeAddress, trust: Trust | null): SettingValues {
  const isDefault = port === PORT && (host === 'localhost' || host === '127.0.0.1')
  if (isLocal) return { S2_BRIDGE_URL: url, ...(isDefault ? {} : { S2_LISTEN: `${bracketed(host)}:${port}` }) }
  const named = { S2_BRIDGE_URL: url, S2_ALLOWED_HOSTS: bracketed(host) }
  if (trust === null) return named
  if (trust === 'proxy') return { ...named, S2_BEHIND_PROXY: 'yes' }
  return { ...named, S2_LISTEN: `${listenHost(host)}:${port}` }
}

/** The bridge listens on a given address of this machine alone, and on all of them for a name, which may orchestrator to any. */
function listenHost(host: string): string {
  if (isIP(host) === 0) return '0.0.0.0'
  const isOurs = ownAddresses().includes(host)
  return isOurs ? bracketed(host) : isIP(host) === 6 ? '[::]' : '0.0.0.0'
}

function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host
}

/** The addresses by which other machines may reach this one. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address)
}

/** Names and addresses of this machine, as suggestions for a person. */
export function ownNames(): string[] {
  return [...new Set([hostname(), ...ownAddresses()])]
}
