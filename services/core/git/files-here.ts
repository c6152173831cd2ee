import { lstatSync } from 'node:fs'
import { posix } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { parseGlob, quotePath } from '#fleet/path-glob.ts'
import { Checkout, type CheckoutParts } from './checkout.ts'
import { repositoryNames } from './repository-names.ts'

/** The repository that a command is called in, or for. */
export interface Here {
  readonly repository: readonly string[]
  readonly checkout: Checkout | null
}

/** The names of the repository of a folder, after the one that is given. Throws `not_found` where there are none. */
export async function repositoryHere(folder: string, parts: CheckoutParts, named?: string): Promise<Here> {
  const checkout = await Checkout.at(folder, parts).catch((error: unknown) => {
    if (error instanceof S2Error && error.code === 'not_found') return null
    throw error
  })
  const found = checkout === null ? [] : await repositoryNames(checkout)
  const repository = [...new Set(named === undefined ? found : [named, ...found])]
  if (repository.length === 0) {
    throw new S2Error(
      'not_found',
      'the repository has no name: it has no remote and no commit, or this is no checkout',
      {
        next: 'name it: --repo NAME, or git config s2.repo NAME in every clone',
      },
    )
  }
  return { repository, checkout }
}

/**
 * Globs as they are typed, from the top of the repository: they begin at the working folder, as paths do, and may be absolute. What
 * is there by its very name means that, whatever signs it has, and a folder means all beneath.
 */
export function globsHere(typed: readonly string[], { checkout }: Pick<Here, 'checkout'>): string[] {
  return typed.map((text) => {
    const path = fromTop(text, checkout)
    const kind = checkout === null ? null : kindOf(posix.join(checkout.top, path))
    const glob = kind === null ? path : quotePath(path)
    return parseGlob(kind === 'folder' && !glob.endsWith('/') ? `${glob}/` : glob).text
  })
}

function fromTop(text: string, checkout: Checkout | null): string {
  if (checkout === null || text.startsWith('/')) return withinTop(text, checkout?.top ?? '')
  return posix.join(checkout.prefix, text)
}

/** An absolute path without its beginning, where it leads into the checkout. */
function withinTop(text: string, top: string): string {
  return text === top || text.startsWith(`${top}/`) ? text.slice(top.length + 1) : text
}

function kindOf(path: string): 'file' | 'folder' | null {
  const stat = path.includes('\0') ? undefined : lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return null
  return stat.isDirectory() ? 'folder' : 'file'
}
