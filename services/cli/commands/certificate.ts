import { createPrivateKey } from 'node:crypto'
import { dirname, resolve } from 'node:path'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit, UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { plain } from '#console/terminal-text.ts'
import {
  type CertificateTrouble,
  isSignedBy,
  readCertificateFacts,
  readCertificates,
  troubleWith,
} from '#fleet/certificate-parser.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { readNamedFile } from '#runtime/read-user-file.ts'
import { certificateFiles } from '../make-certificate.ts'
import { defineTls, folderFor } from './keys.ts'

const EXAMPLES = `
Examples:
  s2 certificate show
        shows who signed the bridge's certificate, for which names, and until when it is valid

It is made and renewed by s2 keys tls.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  defineTls(command.command('create'), context, 'the former name of s2 keys tls')
  command
    .command('show [file]')
    .description("show a certificate, by default the bridge's (S2_TLS_CERT); exit code 1 when it cannot be used")
    .option('--key <file>', 'its key (S2_TLS_KEY, or the file beside it that ends in .key)')
    .option('--json', 'print JSON')
    .action(async (file: string | undefined, options: ShowOptions) => await show(context, file, options))
}

interface ShowOptions {
  readonly key?: string
  readonly json?: true
}

/** A certificate as the command prints it. */
interface Shown {
  readonly file: string
  readonly subject: string
  readonly signedBy: string
  readonly signature: keyof typeof SIGNATURES
  readonly names: readonly string[]
  readonly validFrom: string
  readonly validUntil: string
  readonly daysLeft: number
  readonly key: string
  /** Why it cannot be used, or soon cannot, and what to do. */
  readonly trouble: string | null
  readonly next: string | null
  readonly usable: boolean
}

async function show(context: CommandContext, named: string | undefined, { key, json }: ShowOptions): Promise<void> {
  const settings = readSettings(commandEnv(context), ['S2_TLS_CERT', 'S2_TLS_KEY', 'S2_TLS_CA'])
  const folder = folderFor(context)
  const file =
    named === undefined ? (settings.S2_TLS_CERT ?? certificateFiles(folder).cert) : resolve(context.folder, named)
  const keyFile =
    key === undefined
      ? ((named === undefined ? settings.S2_TLS_KEY : undefined) ?? file.replace(/\.[^./]+$/, '.key'))
      : resolve(context.folder, key)
  const mustHaveKey = key !== undefined || (named === undefined && settings.S2_TLS_KEY !== undefined)
  const ca = settings.S2_TLS_CA ?? certificateFiles(dirname(file)).ca
  const shown = await examine(file, { key: keyFile, mustHaveKey, ca }, context.clock.wall())
  if (json === true) context.print(`${JSON.stringify(shown, null, 2)}\n`)
  else for (const line of linesOf(shown)) context.print(`${plain(line)}\n`)
  if (!shown.usable) throw new Exit(EXIT.failed)
}

async function examine(
  file: string,
  beside: { readonly key: string; readonly mustHaveKey: boolean; readonly ca: string },
  now: number,
): Promise<Shown> {
  const text = await readNamedFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`there is no certificate to show: ${file} cannot be read (${error.code})`, 'name its file')
  })
  const facts = await Promise.resolve(text)
    .then(readCertificateFacts)
    .catch((error: Error) => {
      throw new UsageError(`${file} ${error.message}`, 'name a PEM file with a certificate')
    })
  const [certificate] = readCertificates(text)
  const authorities = await readNamedFile(beside.ca)
    .then(readCertificates)
    .catch(() => [])
  const key = await readNamedFile(beside.key)
    .then((pem) => (certificate?.checkPrivateKey(createPrivateKey(pem)) === true ? 'fits' : 'does not fit'))
    .catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES') return 'cannot be read by this user'
      return error.code === 'ENOENT' ? 'is missing' : `cannot be used: ${error.message}`
    })
  const trouble = troubleWith(facts, now)
  const isKeyWrong = !/^(fits|cannot be read by this user)$/.test(key) && (key !== 'is missing' || beside.mustHaveKey)
  return {
    file,
    subject: facts.subject,
    signedBy: facts.issuer,
    signature: facts.selfSigned
      ? 'itself'
      : certificate !== undefined && isSignedBy(certificate, authorities)
        ? 'own authority'
        : 'another',
    names: facts.names,
    validFrom: new Date(facts.notBefore).toISOString(),
    validUntil: new Date(facts.notAfter).toISOString(),
    daysLeft: Math.floor((facts.notAfter - now) / 86_400_000),
    key: `${beside.key} ${key}`,
    trouble: isKeyWrong ? `its key ${beside.key} ${key}` : trouble === null ? null : `it ${trouble.why}`,
    next: isKeyWrong ? 'put the key of this certificate there' : trouble === null ? null : NEXT[trouble.kind],
    usable: !isKeyWrong && (trouble === null || trouble.kind === 'expires soon'),
  }
}

const RENEWAL = 's2 keys tls renews one that it has made; renew others where they were made'
const NEXT: Readonly<Record<CertificateTrouble['kind'], string>> = {
  expired: RENEWAL,
  'expires soon': RENEWAL,
  'not yet valid': 'set the clock of this host, or wait',
}

const SIGNATURES = {
  itself: 'itself: its readers must trust this very certificate',
  'own authority': 'an authority of your own, which workers get with their credentials (S2_TLS_CA)',
  another: 'an authority that is not kept here',
} as const

function linesOf(shown: Shown): string[] {
  const { file, subject, signedBy, signature, names, validUntil, daysLeft, key, trouble, next } = shown
  return [
    `file       ${file}`,
    `about      ${subject}`,
    `names      ${names.length === 0 ? 'none: no bridge can be reached with it' : names.join(', ')}`,
    `signed by  ${signedBy}, ${SIGNATURES[signature]}`,
    `valid      until ${validUntil.slice(0, 10)}, ${daysLeft} days left`,
    `key        ${key}`,
    ...(trouble === null ? [] : [`trouble    ${trouble}`, `next       ${next}`]),
  ]
}
