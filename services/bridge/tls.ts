import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { ConfigError } from '#runtime/config.ts'

export interface Certificate {
  readonly cert: Buffer
  readonly key: Buffer
}

/** Reads a certificate and its key, and makes sure that they can be used and belong together. Throws `ConfigError`. */
export async function readCertificate(paths: { readonly cert: string; readonly key: string }): Promise<Certificate> {
  const [cert, key] = await Promise.all([readPem('S2_TLS_CERT', paths.cert), readPem('S2_TLS_KEY', paths.key)])
  try {
    createSecureContext({ cert, key })
  } catch (error) {
    throw new ConfigError([
      `S2_TLS_CERT=${paths.cert} and S2_TLS_KEY=${paths.key} cannot be used together: ${(error as Error).message}`,
    ])
  }
  return { cert, key }
}

async function readPem(setting: string, path: string): Promise<Buffer> {
  let pem: Buffer
  try {
    pem = await readFile(path)
  } catch (error) {
    throw new ConfigError([`${setting}=${path} cannot be read (${(error as NodeJS.ErrnoException).code})`])
  }
  if (!pem.includes('-----BEGIN ')) throw new ConfigError([`${setting}=${path} is not a PEM file`])
  return pem
}
