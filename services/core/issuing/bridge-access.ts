import { readAuthority } from '#fleet/certificate-parser.ts'
import type { Credential } from '#fleet/credential.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { readNamedFile } from '#runtime/read-user-file.ts'

/** How the holder of a credential reaches the bridge. */
export type BridgeAccess = Pick<Credential, 'bridgeUrl' | 'bridgeCa'>

/** The address at which workers reach the bridge, and the authority in the file that S2_TLS_CA names. Throws ConfigError. */
export async function bridgeAccessOf(settings: {
  readonly S2_BRIDGE_URL: string
  readonly S2_TLS_CA: string | undefined
}): Promise<BridgeAccess> {
  const { S2_BRIDGE_URL: bridgeUrl, S2_TLS_CA: ca } = settings
  return { bridgeUrl: new URL(bridgeUrl).origin, ...(ca === undefined ? {} : { bridgeCa: await authorityIn(ca) }) }
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
