/** What a release consists of, in the form of CycloneDX 1.5 (ecma-424): our dependencies, their versions, licences and hashes. */
import { readFileSync } from 'node:fs'

interface LockedPackage {
  readonly version: string
  readonly license?: string
  readonly integrity?: string
  readonly dev?: boolean
  readonly optional?: boolean
}

/** A package that a release may contain code of. */
export interface Component {
  readonly name: string
  readonly version: string
  readonly licence: string
  /** SHA-512 in hexadecimal, as the lock file demands it; null where it has none. */
  readonly sha512: string | null
}

/** The packages that are not for development alone, by name. */
export function components(lockFile: string): Component[] {
  const { packages } = JSON.parse(readFileSync(lockFile, 'utf8')) as { packages: Record<string, LockedPackage> }
  return Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, { version, license = 'unknown', integrity }]) => ({
      name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
      version,
      licence: license,
      sha512: integrity?.startsWith('sha512-') ? Buffer.from(integrity.slice(7), 'base64').toString('hex') : null,
    }))
    .sort((one, other) => (one.name === other.name ? order(one.version, other.version) : order(one.name, other.name)))
}

/** The same input gives the same text, so that two builds of a commit are equal. */
export function billOfMaterials(lockFile: string, node: string): string {
  const { name, version, license } = JSON.parse(readFileSync('package.json', 'utf8')) as Record<string, string>
  const bill = {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: { component: { type: 'application', name, version, licenses: [{ license: { id: license } }] } },
    components: [
      { type: 'platform', name: 'node', version: node, licenses: [{ license: { id: 'MIT' } }] },
      ...components(lockFile).map(({ name, version, licence, sha512 }) => ({
        type: 'library',
        name,
        version,
        purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
        licenses: [{ expression: licence }],
        ...(sha512 === null ? {} : { hashes: [{ alg: 'SHA-512', content: sha512 }] }),
      })),
    ],
  }
  return `${JSON.stringify(bill, null, 1)}\n`
}

function order(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0
}

if (import.meta.main) process.stdout.write(billOfMaterials('package-lock.json', process.versions.node))
