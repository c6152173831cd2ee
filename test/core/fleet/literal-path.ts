import { foldName, type PathGlob } from '#fleet/path-glob.ts'

/** The path of one file, which is no pattern. */
export function literalPath(path: string): PathGlob {
  return { text: path, path: [path.split('/').map((name) => [foldName(name)])] }
}
