import { readAuthority } from '#fleet/certificate-parser.ts'
import type { BridgeAccess } from '#fleet/credential.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { readNamedFile } from '#runtime/read-user-file.ts'
import { pinOf } from '#store/remote/bridge-trust.ts'

/**
 * The address at which workers reach the bridge, the authority in the file that S2_TLS_CA names, and with one the key of the
 * bridge's certificate: a closed fleet's own authority signs for one bridge. Throws ConfigError.
 */
export async function bridgeAccessOf(settings: {
  readonly S2_BRIDGE_URL: string
  readonly S2_TLS_CA: string | undefined
  readonly S2_TLS_CERT?: string | undefined
}): Promise<BridgeAccess> {
  const { S2_BRIDGE_URL, S2_TLS_CA: ca, S2_TLS_CERT: certificate } = settings
  const bridgeUrl = new URL(S2_BRIDGE_URL).origin
  if (ca === undefined) return { bridgeUrl }
  const bridgeCa = await authorityIn(ca)
  if (certificate === undefined || !bridgeUrl.startsWith('https:')) return { bridgeUrl, bridgeCa }
  return { bridgeUrl, bridgeCa, bridgePin: await pinIn(certificate) }
}

async function pinIn(path: string): Promise<string> {
  try {
    return pinOf(await readNamedFile(path))
  } catch (error) {
    throw new ConfigError([`S2_TLS_CERT=${path} cannot be read (${(error as Error).message})`])
  }
}

async function authorityIn(path: string): Promise<string> {
  const pem = await readNamedFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new ConfigError([`S2_TLS_CA=${path} cannot be read (${error.code})`])
  })
  try {
    return readAuthority(pem)
  } catch (error) {
    throw new ConfigError([`S2_TLS_CA=${path} ${(error as Error).message}`])
  }
}
