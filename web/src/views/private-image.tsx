/** Images that only the caller may see: fetched with the identity, and shown as a blob. */
import { useEffect, useState } from "preact/hooks";
import { readBytes } from "../api";
import * as me from "../me";

/** True for the URL of an image that is not public (`/me/images/…`, `/moderation/images/…`). */
export function isPrivateImage(url: string): boolean {
  return /\/(me|moderation)\/images\//.test(url);
}

/** The object URL of an image, once it is loaded; null for no image, and if it cannot be loaded. */
export function usePrivateImage(url: string | null): string | null {
  const [objectUrl, setObjectUrl] = useState<string | null>(null);
  const identity = me.sendingUser.value?.identity;
  useEffect(() => {
    if (url === null || identity === undefined) return undefined;
    let current: string | null = null;
    let isUnmounted = false;
    const show = (image: Blob) => {
      if (isUnmounted) return;
      current = URL.createObjectURL(image);
      setObjectUrl(current);
    };
    readBytes(url, identity).then(show, () => undefined);
    return () => {
      isUnmounted = true;
      setObjectUrl(null);
      if (current !== null) URL.revokeObjectURL(current);
    };
  }, [url, identity?.credential]);
  return objectUrl;
}
