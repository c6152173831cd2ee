import { createPrivateKey, randomBytes, type X509Certificate } from 'node:crypto'
import { chmod, lchown, link, mkdir, mkdtemp, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type CertificateFacts, isSignedBy, readCertificateFacts, readCertificates } from '#fleet/certificate-parser.ts'
import { textTail } from '#fleet/cut-text.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import { syncPath } from '#runtime/durable-folder.ts'
import type { Env } from '#runtime/read-settings.ts'
import { hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import { renameOrRemove, writeSynced } from '#spool/atomic-files.ts'

/** The certificate files of a host. */
export interface CertificateFiles {
  /** The authority, and its key: a holder of the key can impersonate the bridge. */
  readonly ca: string
  readonly caKey: string
  /** The bridge's certificate with the authority behind it, and its key. */
  readonly cert: string
  readonly key: string
}

export function certificateFiles(folder: string): CertificateFiles {
  const at = (name: string): string => join(folder, name)
  return { ca: at('ca.crt'), caKey: at('ca.key'), cert: at('bridge.crt'), key: at('bridge.key') }
}

export interface CertificateOrder {
  /** Made where it is missing. The files get its owner and group. */
  readonly folder: string
  /** Names and addresses to add to those of the present certificate. */
  readonly names: readonly string[]
}

export interface MadeCertificate {
  readonly files: CertificateFiles
  readonly facts: CertificateFacts
  /** Whether the authority is new, so that nobody trusts it yet. */
  readonly isNewAuthority: boolean
}

interface Parts {
  readonly clock: Clock
  readonly env: Env
}

const DAY_MS = 86_400_000
const AUTHORITY_DAYS = 3650
const BRIDGE_DAYS = 730
/** Certificates are valid from a day ago: the clocks of other hosts may be behind. */
const BACKDATED_MS = DAY_MS
const NAMES_MAX = 100
/** The longest common name (RFC 5280, ub-common-name). */
const COMMON_NAME_MAX = 64
const OPENSSL_MS = 30_000
/** Services read the files as the group of the folder; the authority's key is for its owner alone. */
const MODE = { public: 0o644, key: 0o640, authorityKey: 0o600, folder: 0o750 } as const

/**
 * Makes a certificate of the bridge, and the authority that signs it where there is none. A renewal keeps authority, key and
 * names, adds the names that are given, and is valid for another two years. Each file is replaced as a whole, and an
 * authority is never overwritten. Throws `invalid`, `conflict`, `forbidden`, and `unavailable` where openssl is missing.
 */
export async function makeCertificate({ folder, names }: CertificateOrder, parts: Parts): Promise<MadeCertificate> {
  const files = certificateFiles(folder)
  const before = await readBefore(files)
  const all = [...new Set([...before.names, ...names].map(readName))]
  if (all.length === 0) throw new S2Error('invalid', 'a certificate needs a name', { next: NAME_EXAMPLE })
  if (all.length > NAMES_MAX) throw new S2Error('invalid', `a certificate has at most ${NAMES_MAX} names`)
  const work = await mkdtemp(join(parts.env.TMPDIR ?? tmpdir(), 's2-certificate-'))
  try {
    await makeFolder(folder)
    const owner = await stat(folder)
    const isNewAuthority = before.authority === null
    if (isNewAuthority) await makeAuthority(work, files, owner, parts)
    const facts = await makeBridge(work, files, all, owner, parts)
    return { files, facts, isNewAuthority }
  } catch (error) {
    throw diskError(error, folder)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** The name or address as certificates write it; throws `invalid`. */
export function readName(text: string): string {
  const name = text.trim().toLowerCase()
  if (isIP(name) === 4) return name
  if (isIP(name) === 6) return new URL(`http://[${name}]`).hostname.slice(1, -1)
  const isName =
    name.length <= 253 &&
    /^(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/.test(name)
  if (isName && !/(^|\.)\d+$/.test(name)) return name
  throw new S2Error('invalid', `${JSON.stringify(text)} is not a name or address of a host`, { next: NAME_EXAMPLE })
}

const NAME_EXAMPLE = 'name the host as workers will: bridge.example.org or 10.0.0.5, without https:// and port'

interface Before {
  readonly authority: X509Certificate | null
  readonly names: readonly string[]
}

/** The present authority and names; throws `conflict` for files that cannot be renewed. */
async function readBefore(files: CertificateFiles): Promise<Before> {
  const [ca, caKey, cert] = await Promise.all([read(files.ca), read(files.caKey), read(files.cert)])
  const [authority = null] = ca === null ? [] : certificatesIn(ca, files.ca)
  if (authority !== null) {
    if (caKey === null) {
      throw conflict(
        `${files.ca} exists, but its key ${files.caKey} does not`,
        'put the key back; or move the authority away: a new one is made then, and every worker needs a new credential',
      )
    }
    checkAuthority(authority, caKey, files)
  }
  if (cert === null) return { authority, names: [] }
  const [bridge] = certificatesIn(cert, files.cert)
  if (authority === null || bridge === undefined || !isSignedBy(bridge, [authority])) {
    throw conflict(
      `${files.cert} was not signed by an authority that is kept here`,
      'renew it where it was made; or move it away, or name another folder with --folder',
    )
  }
  return { authority, names: readCertificateFacts(bridge.toString()).names }
}

function checkAuthority(authority: X509Certificate, caKey: string, files: CertificateFiles): void {
  let fits: boolean
  try {
    fits = authority.checkPrivateKey(createPrivateKey(caKey))
  } catch (error) {
    throw conflict(
      `${files.caKey} cannot be used: ${(error as Error).message}`,
      'put a key there that has no passphrase',
    )
  }
  if (!fits) throw conflict(`${files.caKey} is not the key of ${files.ca}`, 'put the right key back')
  if (!authority.ca) throw conflict(`${files.ca} is no authority: it may not sign`, 'move it away')
}

async function makeAuthority(work: string, files: CertificateFiles, owner: Owner, parts: Parts): Promise<void> {
  const name = `S2 authority ${randomBytes(4).toString('hex')}`
  // A run that was ended between the two files leaves a key without its certificate.
  const key = (await read(files.caKey)) ?? (await makeKey(work, parts))
  const cert = await sign(work, { kind: 'authority', name, names: [], key }, [], AUTHORITY_DAYS * DAY_MS, parts)
  await putNew(files.caKey, key, MODE.authorityKey, owner)
  await putNew(files.ca, cert, MODE.public, owner)
}

async function makeBridge(
  work: string,
  files: CertificateFiles,
  names: readonly string[],
  owner: Owner,
  parts: Parts,
): Promise<CertificateFacts> {
  const ca = await readFile(files.ca, 'utf8')
  const kept = await read(files.key)
  const key = kept ?? (await makeKey(work, parts))
  const leftMs = readCertificateFacts(ca).notAfter - parts.clock.wall()
  if (leftMs < DAY_MS) {
    throw conflict(
      `the authority ${files.ca} ${leftMs <= 0 ? 'has expired' : 'expires within a day'}`,
      `move ${files.ca} and ${files.caKey} away and run the command again; then every worker needs a new credential`,
    )
  }
  const name = names.find((each) => each.length <= COMMON_NAME_MAX) ?? 'S2 bridge'
  const by = ['-cert', files.ca, '-keyfile', files.caKey]
  const validMs = Math.min(BRIDGE_DAYS * DAY_MS, leftMs)
  const cert = await sign(work, { kind: 'bridge', name, names, key }, by, validMs, parts)
  // An existing key is kept, so that no reader ever sees a key and a certificate that do not belong together.
  if (kept === null) await putOver(files.key, key, MODE.key, owner)
  await putOver(files.cert, cert + ca, MODE.public, owner)
  return readCertificateFacts(cert)
}

interface Wanted {
  readonly kind: 'authority' | 'bridge'
  readonly name: string
  readonly names: readonly string[]
  readonly key: string
}

/** `by`: the authority that signs; empty where the certificate signs itself. */
async function sign(
  work: string,
  wanted: Wanted,
  by: readonly string[],
  validMs: number,
  parts: Parts,
): Promise<string> {
  const at = (name: string): string => join(work, name)
  const now = parts.clock.wall()
  await writeFile(at('conf'), configOf(work, wanted))
  await writeFile(at('key'), wanted.key, { mode: 0o600 })
  await writeFile(at('index'), '')
  await openssl(['req', '-new', '-config', at('conf'), '-key', at('key'), '-out', at('request')], parts)
  await openssl(
    [
      ...['ca', '-batch', '-notext', '-config', at('conf'), '-extensions', wanted.kind],
      ...['-startdate', instant(now - BACKDATED_MS), '-enddate', instant(now + validMs)],
      ...(by.length === 0 ? ['-selfsign', '-keyfile', at('key')] : by),
      ...['-in', at('request'), '-out', at('made')],
    ],
    parts,
  )
  return await readFile(at('made'), 'utf8')
}

/** The openssl configuration, used instead of the machine's own. No name holds a character that is special there. */
function configOf(work: string, { name, names }: Wanted): string {
  const alternatives = names.map((each, index) => `${isIP(each) === 0 ? 'DNS' : 'IP'}.${index + 1} = ${each}`)
  return `[ req ]
prompt = no
distinguished_name = subject
[ subject ]
CN = ${name}
[ ca ]
default_ca = signing
[ signing ]
database = ${work}/index
new_certs_dir = ${work}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
[ any ]
commonName = supplied
[ authority ]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[ bridge ]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
${names.length === 0 ? '' : 'subjectAltName = @names\n[ names ]\n'}${alternatives.join('\n')}
`
}

async function makeKey(work: string, parts: Parts): Promise<string> {
  const path = join(work, 'fresh')
  await openssl(['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', path], parts)
  return await readFile(path, 'utf8')
}

async function openssl(args: readonly string[], { clock, env }: Parts): Promise<void> {
  const { PATH } = env
  // Others can read nothing that openssl writes, whatever the caller's mask.
  const argv = ['/bin/sh', '-c', 'umask 077 && exec openssl "$@"', 'sh', ...args] as const
  const bounds = { timeoutMs: OPENSSL_MS, outputMax: 65_536, beyond: 'keep_tail' } as const
  const ending = await runCommand({ argv: [...argv], env: { PATH, LC_ALL: 'C' }, ...bounds }, clock)
  if (hasSucceeded(ending)) return
  if (ending.code === 127) {
    throw new S2Error('unavailable', 'the command openssl is missing; it makes the certificates', {
      next: 'sudo apt-get install openssl, then run this again',
    })
  }
  const why = ending.stderr.trim() || howItEnded(ending)
  throw new S2Error('internal', `openssl ${args[0]} failed: ${textTail(why, 500)}`)
}

/** A time in the format of openssl: `20280131120000Z`. */
function instant(ms: number): string {
  return `${new Date(ms).toISOString().replace(/\D/g, '').slice(0, 14)}Z`
}

interface Owner {
  readonly uid: number
  readonly gid: number
}

async function read(path: string): Promise<string | null> {
  return await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw diskError(error, path)
  })
}

function certificatesIn(text: string, path: string): X509Certificate[] {
  try {
    readCertificateFacts(text)
    return readCertificates(text)
  } catch (error) {
    throw conflict(`${path} ${(error as Error).message}`, 'move it away')
  }
}

/** Makes a folder and those missing above it, with the owner and group of the nearest one that exists. */
async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: MODE.folder })
  if (first === undefined) return
  const owner = await stat(dirname(first))
  for (let made = folder; made.length >= first.length; made = dirname(made)) {
    await chmod(made, MODE.folder)
    await give(made, owner)
    await syncPath(dirname(made))
  }
}

/** Writes a file, replacing the one before. */
async function putOver(path: string, text: string, mode: number, owner: Owner): Promise<void> {
  await renameOrRemove(await draft(path, text, mode, owner), path)
  await syncPath(dirname(path))
}

/** Writes a file where there is none; accepts one with the same text. */
async function putNew(path: string, text: string, mode: number, owner: Owner): Promise<void> {
  const made = await draft(path, text, mode, owner)
  try {
    await link(made, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    if ((await read(path)) !== text) throw conflict(`${path} was just made by another program`, 'run the command again')
  } finally {
    await unlink(made)
  }
  await syncPath(dirname(path))
}

async function draft(path: string, text: string, mode: number, owner: Owner): Promise<string> {
  const made = `${path}.${randomBytes(4).toString('hex')}.draft`
  await writeSynced(made, text, mode)
  await give(made, owner)
  return made
}

/** Changes the owner of a file, where the caller is root. A link that was put in its place is not followed. */
async function give(path: string, { uid, gid }: Owner): Promise<void> {
  await lchown(path, uid, gid).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPERM') throw error
  })
}

function conflict(what: string, next: string): S2Error {
  return new S2Error('conflict', `no certificate was made: ${what}`, { next })
}

function diskError(error: unknown, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new S2Error('unavailable', `the disk of ${path} or ${tmpdir()} is full (${message})`, { next: 'make room' })
  if (error instanceof S2Error || !/^(EACCES|EPERM|EROFS)$/.test(code ?? '')) return error
  const next = 'use sudo for the whole host, or name another folder with --folder'
  return new S2Error('forbidden', `this user may not use ${path} (${message})`, { next })
}
